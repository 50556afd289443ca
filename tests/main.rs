//! The gateway end to end: the real program, real packets, network namespaces of its own for each
//! test. A test is judged by what the kernel's own tools say and by the addresses that the far server saw.

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

/// Makes each of these functions, which take a `Debian`, a test inside every release on which the
/// program can run.
macro_rules! inside_each_debian {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::lab::Debian;

            #[test]
            fn inside_each_debian() {
                for &debian in Debian::that_can_run_the_program() {
                    println!("inside {debian:?}");
                    super::$name(debian);
                }
            }
        }
    )*};
}

mod cli;
mod documents;
mod faults;
mod house;
mod lab;
mod life;
#[path = "../man/source"]
mod manual {
    pub mod clap_text;
    pub mod page;
}
mod packaging;
mod scenarios;
