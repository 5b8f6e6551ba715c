//! `skiff killall`: nothing of ours stays on the node.

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;

use crate::Error;
use crate::error::Context;

/// Removes the bridge, its ports and the nftables tables. Fine where there is nothing.
pub async fn teardown(bridge: &str, table: &str) -> Result<(), Error> {
    let (connection, netlink, _) = rtnetlink::new_connection().what(|| "netlink socket".into())?;
    tokio::spawn(connection);
    let links: Vec<_> = netlink.link().get().execute().try_collect().await.what(|| "list links".into())?;
    let named = |l: &&rtnetlink::packet_route::link::LinkMessage| {
        l.attributes.iter().any(|a| matches!(a, LinkAttribute::IfName(n) if n == bridge))
    };
    if let Some(master) = links.iter().find(named) {
        let index = master.header.index;
        let port = |l: &&rtnetlink::packet_route::link::LinkMessage| {
            l.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(c) if *c == index))
        };
        for link in links.iter().filter(port).chain([master]) {
            let _ = netlink.link().del(link.header.index).execute().await;
        }
    }
    for family in ["ip", "ip6"] {
        // adding first makes the deletion succeed where there is none
        crate::proxy::apply(&format!("add table {family} {table}\ndelete table {family} {table}\n")).await?;
    }
    Ok(())
}
