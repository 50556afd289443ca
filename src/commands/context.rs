//! What every command gets: options, configuration, files, output; and the one way to observe the
//! kernel.

use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;

use crate::cli::{self, Options};
use crate::config::{Config, Role};
use crate::error::Error;
use crate::model::snapshot::Snapshot;
use crate::model::{Family, UplinkNo};
use crate::output::Output;
use crate::plan::{ownership, sysctl};
use crate::system::files::{PoolFiles, RuntimeState, config};
use crate::system::{Kernel, Need, Query, capabilities, syslog};

pub struct Context {
    pub options: Options,
    pub config: Config,
    config6: OnceCell<Config>,
    /// A hash of the text of the configuration.
    pub config_hash: u64,
    pub pool_files: PoolFiles,
    pub runtime: RuntimeState,
    pub output: Output,
}

impl Context {
    pub fn new(options: Options) -> Result<Self> {
        let text = config::read(&options.config)?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let config = Config::parse(&text, &options.config)?;
        if options.inet6 && !config.ipv6 {
            let why = format!("IPv6 is off; set ipv6 = true in {}", config.path.display());
            return Err(Error::usage("-6", why).into());
        }
        Ok(Self {
            config,
            config_hash: hasher.finish(),
            config6: OnceCell::new(),
            pool_files: PoolFiles::new(options.state_dir.clone()),
            runtime: RuntimeState::of(&options.state_dir, cli::STATE_DIR.as_ref()),
            output: Output::new(&options),
            options,
        })
    }

    /// The uplink that a person or a hook named. `None` if a hook was run for a device that is no
    /// uplink.
    pub fn uplink(&self, name: &str) -> Result<Option<UplinkNo>> {
        // A hook that names its event passes a device, whose name may be a number.
        if self.options.hook && syslog::hook_name().is_some() {
            return Ok(self.config.uplink_of(name));
        }
        match self.config.uplink(name) {
            Err(_) if self.options.hook => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    pub fn open_kernel(&self) -> Result<Kernel> {
        self.open_kernel_of(Family::Inet)
    }

    pub fn open_kernel_of(&self, family: Family) -> Result<Kernel> {
        Kernel::open(family, self.config.kernel_ids.protocol)
    }

    /// The configuration of the slice of a family.
    pub fn config_of(&self, family: Family) -> &Config {
        match family {
            Family::Inet => &self.config,
            Family::Inet6 => self.config6.get_or_init(|| self.config.for_inet6()),
        }
    }

    /// Whether the command is about this family: `-4` and `-6`.
    pub fn covers(&self, family: Family) -> bool {
        match family {
            Family::Inet => !self.options.inet6,
            Family::Inet6 => !self.options.inet,
        }
    }

    /// The families that have a slice. Without IPv6 in the kernel, there is none of it.
    pub fn families(&self) -> &'static [Family] {
        if self.config.ipv6 && capabilities::has_ipv6() {
            &[Family::Inet, Family::Inet6]
        } else {
            &[Family::Inet]
        }
    }

    /// Devices, routing and sysctls, and as much of the client set and the packet filter as is
    /// needed. Chains of other programs are split off as conflicts.
    pub fn observe(&self, kernel: &Kernel, set: Need, filter: Need) -> Result<Snapshot> {
        self.observe_if(kernel, |_| [set, filter])
    }

    /// The same. What of the client set and the packet filter is needed depends on the rest.
    pub fn observe_if(
        &self,
        kernel: &Kernel,
        need: impl FnOnce(&Snapshot) -> [Need; 2],
    ) -> Result<Snapshot> {
        let config = self.config_of(kernel.family());
        let mut snapshot = kernel.observe(&self.query(config))?;
        if kernel.family() == Family::Inet {
            snapshot.last_gateways = self.runtime.last_gateways();
        }
        let [set, filter] = need(&snapshot);
        kernel.read_marking(&mut snapshot, set, filter)?;
        ownership::split_foreign(config, &mut snapshot);
        Ok(snapshot)
    }

    /// Devices, routing and sysctls. Needs no privileges.
    pub fn observe_routing(&self, kernel: &Kernel) -> Result<Snapshot> {
        self.observe(kernel, Need::Skip, Need::Skip)
    }

    fn query(&self, config: &Config) -> Query {
        let Config { uplinks, helpers, kernel_ids, .. } = config;
        let mut nexthops: Vec<u32> = uplinks.keys().map(|&no| kernel_ids.nexthop(no)).collect();
        nexthops.push(kernel_ids.group());
        // If there are no backups, the id of their group may belong to another program.
        if uplinks.values().any(|uplink| uplink.role == Role::Backup) {
            nexthops.push(kernel_ids.backup_group());
        }
        Query {
            sysctls: sysctl::keys(config),
            uplinks: uplinks.values().map(|uplink| uplink.dev.clone()).collect(),
            modules: helpers.iter().map(|helper| helper.nat_module()).collect(),
            nexthops,
            tables: self.tables(),
        }
    }

    /// The routing tables that wanpool uses.
    pub fn tables(&self) -> Vec<u32> {
        let ids = &self.config.kernel_ids;
        let mut tables = vec![ids.shared_table()];
        for &no in self.config.uplinks.keys() {
            tables.extend([ids.pool_table(no), ids.uplink_table(no)]);
        }
        tables
    }

    /// The device name of an uplink.
    pub fn dev(&self, no: UplinkNo) -> &str {
        self.config.uplinks.get(&no).map_or("", |uplink| uplink.dev.as_str())
    }
}
