//! The command line and its help, as clap types: the parser, the help texts, the man pages and the
//! completions all come from here. Does not know what the commands do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

mod age;
mod command_name;
mod options;

pub use command_name::resolve_command;
pub use options::{Color, Options, STATE_DIR};

/// Share several uplinks among the clients of a Linux gateway
#[derive(Parser, Debug)]
#[command(
    name = "wanpool",
    version,
    infer_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 80,
    override_usage = "wanpool [OPTIONS] [COMMAND]\n\
                       \x20      wanpool { -V | --version }",
    after_help = "Without COMMAND, wanpool runs pools. COMMAND can be any unambiguous prefix.\n\
                  UPLINK is a number or a device name, CLIENT is an IPv4 address. See wanpool(8)."
)]
pub struct Cli {
    #[command(flatten)]
    pub options: Options,

    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the clients in the neighbour table
    ///
    /// The command lists the IPv4 neighbours on the LAN devices, in order of address. It omits
    /// failed and incomplete entries, excluded addresses, the gateway's own addresses, and broadcast
    /// and multicast addresses. It needs no root privileges and changes nothing.
    #[command(override_usage = "wanpool scan [--new] [--dev DEV]... [--from FILE]")]
    Scan(Scan),

    /// Assign clients to pools
    ///
    /// Without CLIENT and --from, the command assigns all new clients that wanpool scan finds, and
    /// those with a pin of their own address, whether they were heard or not. A pinned client goes to
    /// the pool of its pin. Any other new client goes to the pool with the
    /// fewest clients relative to its weight. Clients that are in a pool stay there.
    ///
    /// The command writes the pool files first and then updates the kernel. It also adds missing
    /// kernel objects, and it restores an uplink whose device has returned. An uplink that was taken
    /// out with wanpool failover stays out. A timer or cron runs this command.
    #[command(override_usage = "wanpool assign [--prune [AGE]] [--rebalance]\n\
                       \x20      wanpool assign CLIENT... [--from FILE] [--pool UPLINK | --release]\n\
                       \x20      wanpool assign --from FILE [--pool UPLINK | --release]")]
    Assign(Assign),

    /// Show the pools, the clients of a pool, or the path of a client
    #[command(override_usage = "wanpool pools [UPLINK | CLIENT]\n\
                       \x20      wanpool pools { --check | --dns | --metrics }")]
    Pools(Pools),

    /// Take an uplink out of service
    ///
    /// The clients in the pool of this uplink use the other uplinks immediately. The command then
    /// deletes the conntrack entries of the flows on this uplink, so that these flows can start
    /// again on another one. If no other uplink is in service, it fails and changes nothing.
    ///
    /// With --probe, the command probes targets through each uplink. It takes an uplink out of
    /// service or restores it, according to the results. It never takes out the last uplink in
    /// service, and it never restores an uplink that was taken out by hand. A timer runs it.
    #[command(override_usage = "wanpool failover UPLINK [--to UPLINK]\n\
                       \x20      wanpool failover --probe [UPLINK]...")]
    Failover(Failover),

    /// Apply the configuration and the pool files, or restore an uplink
    ///
    /// Without UPLINK, the command applies the configuration and the pool files to the kernel and
    /// puts all available uplinks in service. Use it at boot, and after you have edited one of these
    /// files. With UPLINK, it puts this uplink back in service. No connection breaks.
    #[command(override_usage = "wanpool restore [UPLINK [--via GATEWAY] [--dns SERVERS]]\n\
                       \x20      wanpool restore --empty-set")]
    Restore(Restore),

    /// Spread other traffic over all uplinks
    ///
    /// While multipath is on, traffic that belongs to no pool has a default route over all uplinks
    /// in service, per flow and by weight. This includes the traffic of the gateway itself.
    #[command(override_usage = "wanpool multipath [show | on | off]")]
    Multipath(Multipath),

    /// Remove the slice from the kernel
    #[command(override_usage = "wanpool flush")]
    Flush,

    /// Print the help of wanpool or of a command
    #[command(override_usage = "wanpool help [COMMAND]")]
    Help(Help),
}

#[derive(Args, Debug)]
pub struct Scan {
    /// List only clients that are in no pool, one address per line
    #[arg(long)]
    pub new: bool,

    /// List only clients on these LAN devices
    #[arg(long, value_name = "DEV", num_args = 1..)]
    pub dev: Vec<String>,

    /// Read the clients from FILE; - means standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Assign {
    /// The clients to assign, move or release
    #[arg(value_name = "CLIENT")]
    pub clients: Vec<String>,

    /// Read more clients from FILE; - means standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,

    /// Put the clients into the pool of this uplink
    #[arg(long, value_name = "UPLINK", conflicts_with = "release")]
    pub pool: Option<String>,

    /// Remove the clients from their pools
    #[arg(long)]
    pub release: bool,

    /// Release clients that have left, or that were silent for AGE, such as 7d; never pinned
    /// clients or clients with open flows
    #[arg(
        long,
        value_name = "AGE",
        num_args = 0..=1,
        value_parser = age::parse,
        conflicts_with_all = ["clients", "from", "pool", "release"]
    )]
    pub prune: Option<Option<Duration>>,

    /// Move as few clients as possible until the pools match their weights
    #[arg(long, conflicts_with_all = ["clients", "from", "pool", "release"])]
    pub rebalance: bool,
}

#[derive(Args, Debug, Default)]
pub struct Pools {
    /// The uplink or the client to show
    #[arg(value_name = "UPLINK|CLIENT")]
    pub of: Option<String>,

    /// Compare the kernel with the files; print the commands that repair it, and other problems
    #[arg(long, conflicts_with_all = ["of", "metrics"])]
    pub check: bool,

    /// Print the name servers of each uplink in service, as lines of a servers-file for dnsmasq
    #[arg(long, conflicts_with_all = ["of", "check", "metrics"])]
    pub dns: bool,

    /// Print metrics for the textfile collector of the Prometheus node_exporter
    #[arg(long, conflicts_with = "of")]
    pub metrics: bool,
}

#[derive(Args, Debug)]
pub struct Failover {
    /// The uplink to take out of service; with --probe, the uplinks to probe
    #[arg(value_name = "UPLINK", required_unless_present = "probe")]
    pub uplinks: Vec<String>,

    /// Move the traffic of the pool to this uplink only
    #[arg(long, value_name = "UPLINK", conflicts_with = "probe")]
    pub to: Option<String>,

    /// Probe the uplinks; take out those that fail and restore those that have recovered
    #[arg(long)]
    pub probe: bool,
}

#[derive(Args, Debug)]
pub struct Restore {
    /// The uplink to put back in service
    #[arg(value_name = "UPLINK")]
    pub uplink: Option<String>,

    /// Use this gateway, for example the one from the DHCP lease
    // It is no address type, because a hook may give an empty text or a list.
    #[arg(long, value_name = "GATEWAY", requires = "uplink")]
    pub via: Option<String>,

    /// Keep these name servers for pools --dns: addresses separated by spaces
    #[arg(long, value_name = "SERVERS", requires = "uplink")]
    pub dns: Option<String>,

    /// Only create the client set, empty, if it does not exist, so that saved firewall rules load
    #[arg(long, conflicts_with = "uplink")]
    pub empty_set: bool,
}

#[derive(Args, Debug)]
pub struct Multipath {
    /// What to do
    #[arg(value_enum, default_value = "show")]
    pub action: MultipathAction,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipathAction {
    /// Show whether multipath is on, and which uplinks are in service
    Show,
    /// Turn multipath on
    On,
    /// Turn multipath off
    Off,
}

#[derive(Args, Debug)]
pub struct Help {
    /// The command, or an unambiguous prefix of it
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
