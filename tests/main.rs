//! The gateway end to end: the real program, real packets, namespaces of its own for each test.
//!
//! A test is judged by what the kernel's own tools say and by who the far server saw.

mod addresses;
mod again;
mod at_once;
mod bench;
mod by_hand;
mod check;
mod client_path;
mod completion;
mod crowd;
mod debian;
mod demo;
mod dependencies;
mod documents;
mod drift;
mod dry_run;
mod each_object;
mod edited;
mod failback;
mod failing;
mod failover;
mod flows;
mod foreign;
mod full;
mod gateways;
mod habits;
mod healing;
mod hooks;
mod hooks_lan;
mod hostile;
mod house;
mod install;
mod killed;
mod lab;
mod lan;
mod last;
mod life;
mod lines;
mod lock;
#[path = "../man/source"]
mod manual {
    pub mod clap_text;
    pub mod page;
}
mod many;
mod metrics;
mod multipath;
mod need_rust;
mod networkd;
mod others;
mod package;
mod placing;
mod privilege;
mod probe;
mod probe_hook;
mod probe_ways;
mod prune;
mod races;
mod reading;
mod rebalance;
mod refusals;
mod seed;
mod seeing;
mod shortcut;
mod slice;
mod sound;
mod taken;
mod texts;
mod two_gateways;
mod unassigned;
mod units;
mod unproven;

/// Makes each of these functions, which take a `Shape`, a test with either kind of iptables.
macro_rules! with_both_iptables {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::lab::{Iptables, Lab};

            #[test]
            fn with_nft() {
                super::$name(Lab::with().iptables(Iptables::Nft));
            }

            #[test]
            fn with_legacy() {
                super::$name(Lab::with().iptables(Iptables::Legacy));
            }
        }
    )*};
}
pub(crate) use with_both_iptables;

/// Makes each of these functions, which take a `Debian`, a test inside every release on which what
/// is built here can run.
macro_rules! inside_each_debian {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::lab::Debian;

            #[test]
            fn inside_each_debian() {
                for &debian in Debian::that_run_what_is_built_here() {
                    println!("inside {debian:?}");
                    super::$name(debian);
                }
            }
        }
    )*};
}
pub(crate) use inside_each_debian;
