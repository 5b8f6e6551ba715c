//! `skiff killall`: nothing of ours stays on the node.

use futures::TryStreamExt;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteProtocol};

use crate::Error;
use crate::error::Context;

/// Removes pods' interfaces, the bridge, the tunnel, the routes to other nodes and the nftables tables. Fine where there is nothing.
pub async fn teardown(bridge: &str, table: &str) -> Result<(), Error> {
    let (connection, netlink, _) = rtnetlink::new_connection().what(|| "netlink socket".into())?;
    tokio::spawn(connection);
    let protocol = RouteProtocol::from(crate::overlay::protocol(bridge));
    for v6 in [false, true] {
        for route in
            crate::overlay::route_dump(&netlink, v6).await?.into_iter().filter(|r| r.header.protocol == protocol)
        {
            let out =
                route.attributes.iter().find_map(|a| if let RouteAttribute::Oif(i) = a { Some(*i) } else { None });
            if !route.attributes.iter().any(|a| matches!(a, RouteAttribute::Gateway(_))) {
                // to a pod: its interface goes, and the route with it
                if let Some(veth) = out {
                    let _ = netlink.link().del(veth).execute().await;
                }
                continue;
            }
            // set for `host-gw`
            if let Some(Ok(name)) = out.map(nix::net::if_::if_indextoname) {
                crate::sysctl::set(&format!("ipv4/conf/{}/route_localnet", name.to_string_lossy()), "0");
            }
            let _ = netlink.route().del(route).execute().await;
        }
    }
    if let Some(tunnel) = crate::pod::link_index(&netlink, &crate::config::tunnel(bridge)).await {
        let _ = netlink.link().del(tunnel).execute().await;
    }
    let links: Vec<_> = netlink.link().get().execute().try_collect().await.what(|| "list links".into())?;
    let named = |l: &&rtnetlink::packet_route::link::LinkMessage| {
        l.attributes.iter().any(|a| matches!(a, LinkAttribute::IfName(n) if n == bridge))
    };
    if let Some(master) = links.iter().find(named) {
        // earlier versions have made pods its ports
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
