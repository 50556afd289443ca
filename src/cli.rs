//! What can be typed, and its help: clap types only, nothing of ours. Parser, help texts, man page
//! and completions all come from here.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Shares several uplinks among the clients of a Linux gateway: one client, one uplink
#[derive(Parser, Debug)]
#[command(
    name = "wanpool",
    version,
    infer_subcommands = true,
    disable_help_subcommand = false,
    after_help = "Without a command: pools. UPLINK is a number or a device, CLIENT an address.\n\
                  Any unambiguous prefix of a command works. See wanpool(8)."
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,

    /// Print the man page or a shell's completions, for packagers
    #[arg(long, value_name = "KIND", hide = true)]
    pub generate: Option<Generate>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where the pool files are.
pub const STATE_DIR: &str = "/var/lib/wanpool";

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub struct Options {
    /// Print JSON on stdout, nothing else on it
    #[arg(short, long, global = true)]
    pub json: bool,

    /// Indent the JSON
    #[arg(short, long, global = true)]
    pub pretty: bool,

    /// Change nothing; print each step as the command that would do it
    #[arg(short = 'n', long, global = true)]
    pub dry_run: bool,

    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print each step as it is done
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Wait this long for another run to end; 0: fail at once
    #[arg(short, long, value_name = "SECONDS", default_value = "10", global = true)]
    pub wait: u32,

    /// For hooks: what is none of ours, or has overtaken the hook, is no error
    #[arg(
        long,
        env = "WANPOOL_HOOK",
        hide_env_values = true,
        value_parser = clap::builder::FalseyValueParser::new(),
        global = true
    )]
    pub hook: bool,

    /// The configuration
    #[arg(
        long,
        value_name = "FILE",
        env = "WANPOOL_CONFIG",
        hide_env_values = true,
        default_value = "/etc/wanpool.toml",
        value_hint = ValueHint::FilePath,
        global = true
    )]
    pub config: PathBuf,

    /// The folder of the pool files
    #[arg(
        long,
        value_name = "DIR",
        env = "WANPOOL_STATE_DIR",
        hide_env_values = true,
        default_value = STATE_DIR,
        value_hint = ValueHint::DirPath,
        global = true
    )]
    pub state_dir: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the clients heard behind the LAN devices
    ///
    /// Clients in the neighbour table: no failed or incomplete entries, no addresses of the
    /// gateway's own, no excluded, broadcast or multicast addresses; in order of address. Needs no
    /// root and changes nothing.
    Scan(Scan),

    /// Give clients a pool; without CLIENT, all new ones that scan finds
    ///
    /// Each new client goes to its pin, else to the pool with the fewest clients for its weight;
    /// one that is in a pool stays. The pool files are written first, then the kernel follows.
    /// Whatever of the slice is missing is built, and a device that came back without a hook is put
    /// in service; an uplink that was failed over stays out. This is what cron runs.
    Assign(Assign),

    /// Show the pools, one pool's clients, or the way of one client's packets
    Pools(Pools),

    /// Take an uplink out of service
    ///
    /// The pool's clients go by the other uplinks at once; then the conntrack entries of the flows
    /// that ran over this one are ended, so that they begin anew. With no other uplink in service
    /// it is an error and nothing changes.
    ///
    /// With --probe: what the targets of [probe] say decides, and this is what a timer runs. The
    /// last uplink in service is never taken out, and what was taken out by hand stays out.
    Failover(Failover),

    /// Put one uplink back in service, or make everything as config and pool files say
    ///
    /// Without UPLINK: the whole slice, with all present uplinks in service (at boot; after an edit
    /// by hand). With one: that uplink is put back in service; no flow is broken.
    Restore(Restore),

    /// Spread everything else, per flow, over all uplinks in service
    ///
    /// The default route of what belongs to no pool, the router's own traffic too.
    Multipath(Multipath),

    /// Take the whole slice out of the kernel; the files stay
    Flush,
}

#[derive(Args, Debug)]
pub struct Scan {
    /// Only those in no pool, one address a line
    #[arg(long)]
    pub new: bool,

    /// Only those behind this LAN device
    #[arg(long, value_name = "DEV", num_args = 1..)]
    pub dev: Vec<String>,

    /// Read FILE instead: in the form of /proc/net/arp, or one address a line; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Assign {
    /// These clients
    #[arg(value_name = "CLIENT")]
    pub clients: Vec<String>,

    /// And those in FILE: in the form of /proc/net/arp, or one address a line; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,

    /// Put or move them into this uplink's pool
    #[arg(long, value_name = "UPLINK", conflicts_with = "release")]
    pub pool: Option<String>,

    /// Take them out of every pool
    #[arg(long)]
    pub release: bool,

    /// Release those that scan no longer sees: none that is pinned, or has a live flow
    #[arg(long, conflicts_with_all = ["clients", "from", "pool", "release"])]
    pub prune: bool,

    /// Level the pools to their weights with the fewest moves, those without a live flow first
    #[arg(long, conflicts_with_all = ["clients", "from", "pool", "release"])]
    pub rebalance: bool,
}

#[derive(Args, Debug, Default)]
pub struct Pools {
    /// An uplink's number or device, or a client's address
    #[arg(value_name = "UPLINK|CLIENT")]
    pub of: Option<String>,

    /// Compare kernel and files; print the steps that would mend what differs, and what else would
    /// keep clients from being served
    #[arg(long, conflicts_with_all = ["of", "metrics"])]
    pub check: bool,

    /// Print metrics for the textfile collector of node_exporter
    #[arg(long, conflicts_with = "of")]
    pub metrics: bool,
}

#[derive(Args, Debug)]
pub struct Failover {
    /// The uplink's number or device; with --probe several, or none for all
    #[arg(value_name = "UPLINK", required_unless_present = "probe")]
    pub uplinks: Vec<String>,

    /// Send its pool to this uplink alone
    #[arg(long, value_name = "UPLINK", conflicts_with = "probe")]
    pub to: Option<String>,

    /// Ask by each uplink, in service or not, whether its targets answer: dead for some runs in a
    /// row is out, sound for some is back
    #[arg(long)]
    pub probe: bool,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// The uplink's number or device
    #[arg(value_name = "UPLINK")]
    pub uplink: Option<String>,

    /// Its gateway, as DHCP gave it
    #[arg(long, value_name = "GATEWAY", requires = "uplink")]
    pub via: Option<Ipv4Addr>,
}

#[derive(Args, Debug)]
pub struct Multipath {
    #[arg(value_enum, default_value = "show")]
    pub action: MultipathAction,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipathAction {
    /// Tell whether it is on, and over which uplinks
    Show,
    On,
    Off,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Generate {
    Man,
    Bash,
    Zsh,
    Fish,
}
