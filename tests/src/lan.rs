//! Networks between machines: network namespaces, and a switch in a namespace of its own.

use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::machine::succeed;

/// A network namespace.
pub struct Netns(String);

impl Netns {
    fn bare() -> Netns {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skiffbox{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let netns = Netns(name);
        netns.ip("link set lo up");
        netns
    }

    /// With a way out, as a machine has: skiff asks the default route for the node's address.
    pub fn new() -> Netns {
        let netns = Netns::bare();
        for line in [
            "link add up0 type veth peer name up1",
            "addr add 192.0.2.10/24 dev up0",
            "link set up0 up",
            "link set up1 up",
            "route add default via 192.0.2.1",
        ] {
            netns.ip(line);
        }
        netns
    }

    /// `ip ARGS` inside.
    pub fn ip(&self, line: &str) -> String {
        succeed(Command::new("ip").args(["-n", &self.0]).args(line.split(' ')))
    }
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Default for Netns {
    fn default() -> Netns {
        Netns::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// A switch, and behind it a router that answers on the first address. Machines are numbered from 1.
pub struct Lan {
    switch: Netns,
    used: AtomicU8,
}

impl Lan {
    pub fn new() -> Lan {
        let switch = Netns::bare();
        for line in ["link add sw type bridge", "addr add 192.0.2.254/24 dev sw", "link set sw up"] {
            switch.ip(line);
        }
        Lan { switch, used: AtomicU8::new(0) }
    }

    /// The address of machine `n`.
    pub fn address(n: u8) -> String {
        format!("192.0.2.{n}")
    }

    /// Another machine's network, and its number.
    pub fn plug(&self) -> (Netns, u8) {
        let n = self.used.fetch_add(1, Ordering::Relaxed) + 1;
        let netns = Netns::bare();
        self.switch.ip(&format!("link add port{n} type veth peer name up0 netns {}", netns.0));
        self.switch.ip(&format!("link set port{n} master sw up"));
        netns.ip(&format!("addr add {}/24 dev up0", Lan::address(n)));
        netns.ip("link set up0 up");
        netns.ip("route add default via 192.0.2.254");
        (netns, n)
    }

    /// Pulls the cable of machine `n`: neither side sees its link go down.
    pub fn cut(&self, n: u8) {
        self.switch.ip(&format!("link set port{n} nomaster"));
    }
    pub fn mend(&self, n: u8) {
        self.switch.ip(&format!("link set port{n} master sw"));
    }

    /// `tc netem` on the way to machine `n`: `loss 20% delay 200ms`. False if this kernel has none.
    pub fn impair(&self, n: u8, how: &str) -> bool {
        let line = format!("qdisc replace dev port{n} root netem {how}");
        let out = Command::new("tc").args(["-n", &self.switch.0]).args(line.split(' ')).output();
        out.is_ok_and(|o| o.status.success())
    }

    /// Outside of the cluster: what pods reach through masquerade.
    pub fn router(&self) -> &Netns {
        &self.switch
    }
}

impl Default for Lan {
    fn default() -> Lan {
        Lan::new()
    }
}
