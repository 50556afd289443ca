//! The slice of IPv6 beside that of IPv4: whether it exists, and the uplinks over it.

use anyhow::Result;

use super::Context;
use crate::model::Family;
use crate::model::snapshot::Snapshot;
use crate::plan::uplinks::{self, GatewayStatus};
use crate::system::capabilities;

/// Whether there is a slice of IPv6, perhaps from an earlier configuration.
pub fn has_slice(context: &Context) -> Result<bool> {
    if !capabilities::has_ipv6() {
        return Ok(false);
    }
    context.open_kernel_of(Family::Inet6)?.has_routing()
}

/// What is in service over IPv6 now. `None` if there is no slice of IPv6.
pub fn current(context: &Context, inet: &GatewayStatus) -> Result<Option<GatewayStatus>> {
    if !context.families().contains(&Family::Inet6) {
        return Ok(None);
    }
    let kernel = context.open_kernel_of(Family::Inet6)?;
    let found = context.observe_routing(&kernel)?;
    Ok(Some(current_of(context, &found, inet)))
}

/// The same, of this snapshot.
pub fn current_of(context: &Context, found: &Snapshot, inet: &GatewayStatus) -> GatewayStatus {
    let config = context.config_of(Family::Inet6);
    let mut status = uplinks::current(config, found);
    status.refuse_where_ipv6_is_missing(config, inet);
    status
}
