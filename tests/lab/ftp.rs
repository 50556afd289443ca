//! An FTP server at the far end and a client on the LAN, in active mode: the server opens the data
//! connection, so the gateway needs the conntrack helper `ftp`.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{ChildGuard, FAR, Lab, wait_until};

/// The server runs as long as this value lives.
pub struct Ftp {
    _server: ChildGuard,
}

impl Ftp {
    /// Serves `hello.txt` without a password.
    pub fn start(lab: &Lab) -> Ftp {
        assert!(
            Path::new("/usr/sbin/vsftpd").exists(),
            "the lab needs vsftpd (apt install vsftpd)"
        );
        let config = write_files(lab.scratch());
        let mut server = Command::new("/usr/sbin/vsftpd");
        server.arg(config);
        let server = ChildGuard::start(&lab.far, &server);
        wait_until("the FTP server listens", || {
            lab.far.enter(|| TcpStream::connect((*FAR.ip(), 21)).is_ok())
        });
        Ftp { _server: server }
    }

    /// Fetches the file from this client in active mode; `Err` is the output of curl.
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
