//! A real FTP server at the far end and a real client on the LAN, in active mode: the server
//! opens the data connection, so the gateway must read along (conntrack helper `ftp`).

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};

use super::{FAR, Lab, wait_until};

/// The server runs as long as this value lives.
pub struct Ftp {
    stop: Option<UnixStream>,
    keeper: Option<JoinHandle<()>>,
}

impl Ftp {
    /// Serves `hello.txt` to anybody.
    pub fn start(lab: &Lab) -> Ftp {
        assert!(
            Path::new("/usr/sbin/vsftpd").exists(),
            "the lab needs vsftpd (apt install vsftpd)"
        );
        let config = write_files(lab.scratch());
        let mut server = lab.far.command("setpriv");
        server.args(["--pdeathsig", "KILL", "/usr/sbin/vsftpd"]).arg(config);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (stop, stopped) = UnixStream::pair().expect("a pair of sockets");
        let far = lab.far.file();
        // The server dies with the thread that started it, so that thread stays.
        let keeper = thread::spawn(move || {
            super::netns::enter_for_good(&far);
            keep(server.spawn().expect("to start vsftpd"), stopped);
        });
        wait_until("the FTP server listens", || {
            lab.far.enter(|| TcpStream::connect((*FAR.ip(), 21)).is_ok())
        });
        Ftp { stop: Some(stop), keeper: Some(keeper) }
    }

    /// Fetches the file from this client in active mode; `Err` has curl's words.
    pub fn fetch(&self, lab: &Lab, client: Ipv4Addr) -> Result<String, String> {
        let mut curl = lab.clients.command("curl");
        let from = client.to_string();
        curl.args(["-sS", "--max-time", "20", "--interface", &from, "--ftp-port", &from]);
        curl.args(["--disable-eprt", &format!("ftp://{}/hello.txt", FAR.ip())]);
        let output = lab.clients.output(curl, "");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Ftp {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn keep(mut server: Child, stopped: UnixStream) {
    let _ = BufReader::new(stopped).read_line(&mut String::new());
    let _ = server.kill();
    let _ = server.wait();
}

fn write_files(dir: &Path) -> std::path::PathBuf {
    let (root, empty) = (dir.join("ftp"), dir.join("empty"));
    for made in [&root, &empty] {
        fs::create_dir(made).expect("a directory for vsftpd");
        fs::set_permissions(made, fs::Permissions::from_mode(0o555)).expect("its mode");
    }
    fs::write(root.join("hello.txt"), "hello\n").expect("the file to fetch");
    let config = dir.join("vsftpd.conf");
    let text = format!(
        "listen=YES\nbackground=NO\nlisten_address={}\nanonymous_enable=YES\nanon_root={}\n\
         secure_chroot_dir={}\nxferlog_enable=NO\nconnect_from_port_20=YES\nisolate=NO\n\
         isolate_network=NO\nseccomp_sandbox=NO\n",
        FAR.ip(),
        root.display(),
        empty.display(),
    );
    fs::write(&config, text).expect("vsftpd.conf");
    config
}
