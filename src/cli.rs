//! What can be typed, and its help: clap types only, nothing of ours. Parser, help texts, man pages
//! and completions all come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Shares several uplinks among the clients of a Linux gateway: one client, one uplink
#[derive(Parser, Debug)]
#[command(
    name = "wanpool",
    version,
    infer_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 80,
    override_usage = "wanpool [OPTIONS] [COMMAND]",
    after_help = "Without a command: pools. UPLINK is a number or a device, CLIENT an address.\n\
                  Any unambiguous prefix of a command works. See wanpool(8)."
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,

    /// Write the man pages into DIR, for packagers
    #[arg(long, value_name = "DIR", hide = true)]
    pub generate: Option<PathBuf>,

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

    /// Colour the states of uplinks: by default on a terminal without NO_COLOR; -c alone is always
    #[arg(
        short,
        long,
        value_name = "WHEN",
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_value = "auto",
        default_missing_value = "always",
        hide_possible_values = true,
        global = true
    )]
    pub color: Color,

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

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Always,
    Auto,
    Never,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the clients heard behind the LAN devices
    ///
    /// Clients in the neighbour table: no failed or incomplete entries, no addresses of the
    /// gateway's own, no excluded, broadcast or multicast addresses; in order of address. Needs no
    /// root and changes nothing.
    #[command(override_usage = "wanpool scan [--new] [--dev DEV]... [--from FILE]")]
    Scan(Scan),

    /// Give clients a pool; without CLIENT, all new ones that scan finds
    ///
    /// Each new client goes to its pin, else to the pool with the fewest clients for its weight;
    /// one that is in a pool stays. The pool files are written first, then the kernel follows.
    /// Whatever of the slice is missing is built, and a device that came back without a hook is put
    /// in service; an uplink that was failed over stays out. This is what cron runs.
    #[command(override_usage = "wanpool assign [--prune] [--rebalance]\n\
                       \x20      wanpool assign CLIENT... [--from FILE] [--pool UPLINK | --release]\n\
                       \x20      wanpool assign --from FILE [--pool UPLINK | --release]")]
    Assign(Assign),

    /// Show the pools, one pool's clients, or the way of one client's packets
    #[command(override_usage = "wanpool pools [UPLINK | CLIENT]\n\
                       \x20      wanpool pools { --check | --metrics }")]
    Pools(Pools),

    /// Take an uplink out of service
    ///
    /// The pool's clients go by the other uplinks at once; then the conntrack entries of the flows
    /// that ran over this one are ended, so that they begin anew. With no other uplink in service
    /// it is an error and nothing changes.
    ///
    /// With --probe: what the targets of [probe] say decides, and this is what a timer runs. The
    /// last uplink in service is never taken out, and what was taken out by hand stays out.
    #[command(override_usage = "wanpool failover UPLINK [--to UPLINK]\n\
                       \x20      wanpool failover --probe [UPLINK]...")]
    Failover(Failover),

    /// Put one uplink back in service, or make everything as config and pool files say
    ///
    /// Without UPLINK: the whole slice, with all present uplinks in service (at boot; after an edit
    /// by hand). With one: that uplink is put back in service; no flow is broken.
    #[command(override_usage = "wanpool restore [UPLINK [--via GATEWAY]]")]
    Restore(Restore),

    /// Spread everything else, per flow, over all uplinks in service
    ///
    /// The default route of what belongs to no pool, the router's own traffic too.
    #[command(override_usage = "wanpool multipath [show | on | off]")]
    Multipath(Multipath),

    /// Take the whole slice out of the kernel; the files stay
    #[command(override_usage = "wanpool flush")]
    Flush,

    /// Print this help, or that of a command
    #[command(override_usage = "wanpool help [COMMAND]")]
    Help(Help),
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
    // No address here: a hook may say that there is none.
    #[arg(long, value_name = "GATEWAY", requires = "uplink")]
    pub via: Option<String>,
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

#[derive(Args, Debug)]
pub struct Help {
    /// Any unambiguous prefix will do
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// The command of which this is the name, or a prefix that no other has.
pub fn meant<'a>(program: &'a clap::Command, typed: &str) -> Option<&'a str> {
    let names = || program.get_subcommands().map(clap::Command::get_name);
    let mut begin_so = names().filter(|name| name.starts_with(typed));
    match (names().find(|name| *name == typed), begin_so.next(), begin_so.next()) {
        (Some(exact), ..) => Some(exact),
        (None, Some(one), None) => Some(one),
        _ => None,
    }
}
