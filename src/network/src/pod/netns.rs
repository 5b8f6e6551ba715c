//! Inside a pod's network namespace: done on a thread of its own, as a thread is in one namespace at a time.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::bridge::{address, ignore_exists, index};
use crate::Error;
use crate::error::Context;

/// Whether `eth0` is there with these addresses: the pod is adopted, not set up.
pub async fn has_eth0(namespace: &File, ips: &[IpAddr]) -> Result<bool, Error> {
    let ips = ips.to_vec();
    inside(namespace, async move |netlink| {
        let Some(eth0) = index(&netlink, "eth0").await else { return Ok(false) };
        let mut found = Vec::new();
        let mut addresses = Box::pin(netlink.address().get().set_link_index_filter(eth0).execute());
        while let Some(a) = addresses.try_next().await.what(|| "list addresses".into())? {
            found.extend(a.attributes.into_iter().filter_map(|x| match x {
                AddressAttribute::Address(ip) => Some(ip),
                _ => None,
            }));
        }
        Ok(ips.iter().all(|ip| found.contains(ip)))
    })
    .await
}

/// Makes `link`, which was moved here, the pod's `eth0`: all goes to the gateways, at `gateway_mac`.
pub async fn configure(
    namespace: &File,
    link: String,
    ips: Vec<IpAddr>,
    gateways: Vec<IpAddr>,
    gateway_mac: Vec<u8>,
    mtu: u32,
) -> Result<(), Error> {
    inside(namespace, async move |netlink| {
        if let Some(lo) = index(&netlink, "lo").await {
            netlink
                .link()
                .set(LinkUnspec::new_with_index(lo).up().build())
                .execute()
                .await
                .what(|| "set lo up".into())?;
        }
        let eth0 = index(&netlink, &link)
            .await
            .ok_or_else(|| Error::Netlink { what: format!("find {link}"), source: rtnetlink::Error::RequestFailed })?;
        let name = LinkUnspec::new_with_index(eth0).name("eth0").mtu(mtu).build();
        netlink.link().set(name).execute().await.what(|| "name eth0".into())?;
        netlink
            .link()
            .set(LinkUnspec::new_with_index(eth0).up().build())
            .execute()
            .await
            .what(|| "set eth0 up".into())?;
        for ip in ips {
            address(&netlink, eth0, ip.into()).await?;
        }
        for gateway in gateways {
            let neighbour = netlink.neighbours().add(eth0, gateway).link_layer_address(&gateway_mac);
            neighbour.replace().execute().await.what(|| format!("neighbour {gateway}"))?;
            routes(&netlink, eth0, gateway).await?;
        }
        Ok(())
    })
    .await
}

/// The gateway is on the link, everything else behind it.
async fn routes(netlink: &Handle, eth0: u32, gateway: IpAddr) -> Result<(), Error> {
    let (link, default) = match gateway {
        IpAddr::V4(g) => {
            let new = || RouteMessageBuilder::<Ipv4Addr>::new().output_interface(eth0);
            (new().destination_prefix(g, 32).scope(RouteScope::Link).build(), new().gateway(g).build())
        }
        IpAddr::V6(g) => {
            let new = || RouteMessageBuilder::<Ipv6Addr>::new().output_interface(eth0);
            (new().destination_prefix(g, 128).build(), new().gateway(g).build())
        }
    };
    for route in [link, default] {
        ignore_exists(netlink.route().add(route).execute().await).what(|| format!("route by {gateway}"))?;
    }
    Ok(())
}

/// Runs `work` with a netlink socket of the namespace.
async fn inside<T, F>(namespace: &File, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: AsyncFnOnce(Handle) -> Result<T, Error> + Send + 'static,
{
    let namespace = namespace.try_clone().what(|| "network namespace".into())?;
    let (answer, result) = tokio::sync::oneshot::channel();
    let thread = move || {
        let run = || -> Result<T, Error> {
            setns(&namespace, CloneFlags::CLONE_NEWNET).what(|| "enter the pod's network namespace".into())?;
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().what(|| "netlink runtime".into())?;
            runtime.block_on(async {
                let (connection, netlink, _) = rtnetlink::new_connection().what(|| "netlink socket".into())?;
                tokio::spawn(connection);
                work(netlink).await
            })
        };
        let _ = answer.send(run());
    };
    std::thread::Builder::new().name("netns".into()).spawn(thread).what(|| "netns thread".into())?;
    result.await.unwrap_or_else(|_| {
        Err(Error::Io { what: "netns thread".into(), source: std::io::ErrorKind::BrokenPipe.into() })
    })
}
