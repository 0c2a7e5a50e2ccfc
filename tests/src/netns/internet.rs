//! A server and homes behind routers, on one network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::nat::Nat;
use super::space::Namespace;
use super::wire::{Trouble, connect};

/// The server, and the address at which it answers questions about filters.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// A second address of the server.
pub const SERVER_ALT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The server for those who have no IPv4.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A second one of these.
pub const SERVER_ALT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The name of the server. It stands for both of its addresses.
pub const SERVER_NAME: &str = "server.xp2p.test";
/// Bits of the network that everybody is at: its first half is one for documentation (RFC 5737), its second half is not. Daemons
/// of routers do not open ports at an address for documentation.
const PREFIX: u8 = 23;
/// Every home has this one: most have the same.
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// The last byte of the first public address that is not the server's.
const FIRST_HOME: u8 = 10;

/// One network that everybody is at: a switch, and the server.
#[derive(Debug)]
pub struct Internet {
    hub: Namespace,
    server: Namespace,
    next: AtomicU8,
}

/// A client and the routers in front of it.
#[derive(Debug)]
pub struct Site {
    /// Where the client's programs run.
    pub client: Namespace,
    /// From the client outwards.
    pub routers: Vec<Namespace>,
    /// The address that others see, of the outermost router or, without one, of the client.
    pub public: IpAddr,
    nat: Nat,
}

impl Internet {
    /// A network with a server, which has two addresses of IPv4 and one of IPv6.
    #[expect(clippy::new_without_default, reason = "it makes much more than a value")]
    pub fn new() -> Self {
        let hub = Namespace::new("hub");
        hub.bridge("net");
        let internet = Self { hub, server: Namespace::new("server"), next: AtomicU8::new(FIRST_HOME) };
        internet.plug(&internet.server, "eth0");
        internet.server.ip(&format!("addr add {SERVER}/{PREFIX} dev eth0"));
        internet.server.ip(&format!("addr add {SERVER_ALT}/{PREFIX} dev eth0"));
        internet.server.ip(&format!("addr add {SERVER_V6}/64 dev eth0 nodad"));
        internet.server.ip(&format!("addr add {SERVER_ALT_V6}/64 dev eth0 nodad"));
        internet.name_server(&internet.server);
        internet
    }

    /// Where the server's programs run.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    fn number(&self) -> u8 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!((FIRST_HOME..255).contains(&number), "too many homes");
        number
    }

    /// Lets programs in `space` find the server by its name.
    pub fn name_server(&self, space: &Namespace) {
        space.hosts(&format!(
            "127.0.0.1 localhost\n::1 localhost\n{SERVER} {SERVER_NAME}\n{SERVER_V6} {SERVER_NAME}\n"
        ));
    }

    /// Connects interface `name` of a namespace to the switch.
    fn plug(&self, space: &Namespace, name: &str) {
        let port = format!("p{}", self.number());
        space.connect(name, &self.hub, &port);
        self.hub.ip(&format!("link set {port} master net"));
    }

    /// The same by a cable with delay and loss.
    fn plug_badly(&self, space: &Namespace, name: &str, trouble: Trouble) {
        let port = format!("p{}", self.number());
        connect(space, name, &self.hub, &port, trouble);
        self.hub.ip(&format!("link set {port} master net"));
    }

    /// A client with what `nat` says in front of it.
    pub fn site(&self, label: &str, nat: Nat) -> Site {
        self.site_at(label, nat, |internet| internet.public_v4())
    }

    /// The same with a router whose address is one of the internet also in the eyes of programs on it.
    pub fn routable_site(&self, label: &str, nat: Nat) -> Site {
        self.site_at(label, nat, |internet| {
            let [a, b, c, d] = internet.public_v4().octets();
            Ipv4Addr::new(a, b, c + 1, d)
        })
    }

    fn site_at(&self, label: &str, nat: Nat, public_v4: impl Fn(&Self) -> Ipv4Addr) -> Site {
        let client = Namespace::new(label);
        self.name_server(&client);
        let mut site = Site { client, routers: Vec::new(), public: IpAddr::V4(Ipv4Addr::UNSPECIFIED), nat };
        match nat {
            Nat::Open => {
                let public = public_v4(self);
                self.plug(&site.client, "eth0");
                site.client.ip(&format!("addr add {public}/{PREFIX} dev eth0"));
                site.public = public.into();
            }
            Nat::Ipv6Only => {
                let public = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(self.number()));
                self.plug(&site.client, "eth0");
                site.client.ip(&format!("addr add {public}/64 dev eth0 nodad"));
                site.public = public.into();
            }
            Nat::Double => {
                let (carrier, public) = self.router_at(label, nat, public_v4(self));
                let home = Namespace::new(&format!("{label}-home"));
                // Another network than the carrier's, as always at home.
                home_network(&home, "10.0.0.1");
                home.connect("wan", &carrier, "home");
                carrier.ip("link set home master lan");
                home.ip(&format!("addr add {CLIENT}/24 dev wan"));
                home.ip("route add default via 192.168.1.1");
                home.nft(&Nat::PortRestricted.rules(CLIENT, Ipv4Addr::new(10, 0, 0, 2), SERVER));
                join(&site.client, "eth0", &home, "10.0.0.2", "10.0.0.1");
                site.routers = vec![home, carrier];
                site.public = public.into();
            }
            _ => {
                let (router, public) = self.router_at(label, nat, public_v4(self));
                join(&site.client, "eth0", &router, &CLIENT.to_string(), "192.168.1.1");
                site.routers = vec![router];
                site.public = public.into();
            }
        }
        if let Some(rules) = nat.own_rules() {
            site.client.nft(rules);
        }
        site
    }

    fn public_v4(&self) -> Ipv4Addr {
        let [a, b, c, _] = SERVER.octets();
        Ipv4Addr::new(a, b, c, self.number())
    }

    /// A router with a network 192.168.1.0/24 behind it.
    pub fn router(&self, label: &str, nat: Nat) -> (Namespace, Ipv4Addr) {
        self.router_at(label, nat, self.public_v4())
    }

    fn router_at(&self, label: &str, nat: Nat, public: Ipv4Addr) -> (Namespace, Ipv4Addr) {
        let router = Namespace::new(&format!("{label}-router"));
        home_network(&router, "192.168.1.1");
        if nat == Nat::Lossy {
            let trouble = Trouble { delay: Duration::from_millis(100), loss: 30 };
            self.plug_badly(&router, "wan", trouble);
        } else {
            self.plug(&router, "wan");
        }
        if nat == Nat::Mtu1280 {
            router.ip("link set wan mtu 1280");
        }
        router.ip(&format!("addr add {public}/{PREFIX} dev wan"));
        router.nft(&nat.rules(public, CLIENT, SERVER));
        (router, public)
    }
}

/// A switch inside, and forwarding.
fn home_network(router: &Namespace, addr: &str) {
    router.sysctl("net/ipv4/ip_forward", "1");
    router.bridge("lan");
    router.ip(&format!("addr add {addr}/24 dev lan"));
}

/// Connects interface `name` of a client to the network behind a router.
pub fn join(client: &Namespace, name: &str, router: &Namespace, addr: &str, gateway: &str) {
    // The port has the last byte of the client's address, which is its own in this network.
    let port = format!("port{}", addr.rsplit('.').next().expect("an address"));
    client.connect(name, router, &port);
    router.ip(&format!("link set {port} master lan"));
    client.ip(&format!("addr add {addr}/24 dev {name}"));
    client.ip(&format!("route add default via {gateway}"));
}

impl Site {
    /// What stands in front of the client.
    pub fn nat(&self) -> Nat {
        self.nat
    }

    /// Lets its routers forget all connections, as when they restart or run out of memory.
    pub fn forget_mappings(&self) {
        for router in &self.routers {
            router.nft("flush set ip nat contacted\n");
            let flushed = router.command("conntrack", &["-F"]).output().expect("conntrack can be run");
            assert!(flushed.status.success(), "conntrack -F: {}", String::from_utf8_lossy(&flushed.stderr));
        }
    }
}
