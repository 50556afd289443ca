//! What every command gets: options, configuration, files, output; and the one way to observe the
//! kernel.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;

use crate::cli::{self, Options};
use crate::config::{Config, Role};
use crate::model::UplinkNo;
use crate::model::snapshot::Snapshot;
use crate::output::Output;
use crate::plan::{ownership, sysctl};
use crate::system::files::{PoolFiles, RuntimeState, config};
use crate::system::{Kernel, Need, Query, syslog};

pub struct Context {
    pub options: Options,
    pub config: Config,
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
        Ok(Self {
            config: Config::parse(&text, &options.config)?,
            config_hash: hasher.finish(),
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
        Kernel::open(self.config.family, self.config.kernel_ids.protocol)
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
        let mut snapshot = kernel.observe(&self.query())?;
        snapshot.last_gateways = self.runtime.last_gateways();
        let [set, filter] = need(&snapshot);
        kernel.read_marking(&mut snapshot, set, filter)?;
        ownership::split_foreign(&self.config, &mut snapshot);
        Ok(snapshot)
    }

    /// Devices, routing and sysctls. Needs no privileges.
    pub fn observe_routing(&self, kernel: &Kernel) -> Result<Snapshot> {
        self.observe(kernel, Need::Skip, Need::Skip)
    }

    fn query(&self) -> Query {
        let Config { uplinks, helpers, kernel_ids, .. } = &self.config;
        let mut nexthops: Vec<u32> = uplinks.keys().map(|&no| kernel_ids.nexthop(no)).collect();
        nexthops.push(kernel_ids.group());
        // If there are no backups, the id of their group may belong to another program.
        if uplinks.values().any(|uplink| uplink.role == Role::Backup) {
            nexthops.push(kernel_ids.backup_group());
        }
        Query {
            sysctls: sysctl::keys(&self.config),
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
