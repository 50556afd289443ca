//! A shell at a terminal, into which a test types.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

use super::{Lab, binary};

/// The prompt that the shells' rc files set.
const PROMPT: &str = "ready>";
/// The longest time that a shell takes after a key, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal<'lab> {
    lab: &'lab Lab,
    shell: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Lab {
    /// A shell in the gateway's namespace, with the project's completions as an admin has them.
    pub fn terminal(&self, name: &str) -> Terminal<'_> {
        let home = self.scratch().join("home");
        let completions = concat!(env!("CARGO_MANIFEST_DIR"), "/completions");
        let programs = home.join("bin");
        fs::create_dir_all(&programs).expect("a home");
        let link = programs.join("wanpool");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(binary(), link).expect("a link to the program");
        let rc = |name: &str, text: &str| {
            fs::write(home.join(name), text).expect("an rc file");
            home.join(name).display().to_string()
        };
        let mut command = self.gateway.command("setsid");
        command.arg("--ctty");
        match name {
            "bash" => {
                let text = format!("source {completions}/wanpool.bash\nPS1='{PROMPT} '\n");
                command.args(["bash", "--noprofile", "--rcfile", &rc("bashrc", &text), "-i"]);
            }
            "zsh" => {
                // As a distribution has them: in fpath, loaded by the first completion.
                let text = format!(
                    "fpath=({completions} $fpath)\nautoload -Uz compinit\ncompinit -u -D\n\
                     unsetopt prompt_sp\nPS1='{PROMPT} '\n"
                );
                rc(".zshrc", &text);
                command.args(["zsh", "-d", "-i"]);
            }
            "fish" => {
                let text = format!(
                    "source {completions}/wanpool.fish; function fish_prompt; echo -n '{PROMPT} '; end"
                );
                command.args(["fish", "--no-config", "-i", "--init-command", &text]);
            }
            _ => panic!("no rc file for {name}"),
        }
        let path = self.gateway.env("PATH");
        command
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", &home)
            .env("ZDOTDIR", &home)
            .env("TERM", "xterm")
            .current_dir(self.scratch());
        Terminal::open(self, command)
    }
}

impl<'lab> Terminal<'lab> {
    fn open(lab: &'lab Lab, mut command: Command) -> Terminal<'lab> {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("another handle of the terminal"));
        command.stdin(end()).stdout(end()).stderr(end());
        let shell = lab
            .gateway
            .enter(|| command.spawn())
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
        let keys = File::from(pty.master);
        let mut lines = keys.try_clone().expect("another handle of the terminal");
        let (say, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the end of the shell.
            while let Ok(count @ 1..) = lines.read(&mut bytes) {
                if say.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut terminal = Terminal { lab, shell, keys, screen, seen: String::new() };
        terminal.await_screen(is_prompt);
        terminal
    }

    /// The command line after this was typed and TAB pressed.
    #[track_caller]
    pub fn completed(&mut self, typed: &str) -> String {
        let file = self.lab.scratch().join("typed");
        let _ = fs::remove_file(&file);
        self.seen.clear();
        // Ctrl-A and Ctrl-E go to the ends of the line, in all three shells.
        let keys = format!("{typed}\t\x01echo \x05 >typed\r");
        self.keys.write_all(keys.as_bytes()).expect("a terminal that takes keys");
        let mut line = String::new();
        self.await_screen(|screen| {
            line = fs::read_to_string(&file).unwrap_or_default();
            // The prompt may be drawn again while the line is edited, without a new line.
            line.ends_with('\n') && screen.contains('\n') && is_prompt(screen)
        });
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn await_screen(&mut self, mut is_right: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_right(&self.seen) {
            assert!(Instant::now() < deadline, "waited in vain; on the screen: {}", self.seen);
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(20)) {
                self.seen += &String::from_utf8_lossy(&bytes);
            }
        }
    }
}

fn is_prompt(screen: &str) -> bool {
    screen.rsplit('\n').next().is_some_and(|last| last.contains(PROMPT))
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
