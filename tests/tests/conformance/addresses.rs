//! Hosts with several addresses, both families, and sockets that were made elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use xp2p_proto::info::Rights;
use xp2p_proto::stun::{Message, TransactionId};
use xp2p_smol::driver::runtime::Runtime;
use xp2p_smol::driver::socket::BoundSocket;

use crate::home::{self, Home, anywhere, secret};
use crate::place::Place;

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SIXTH: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Where the machine has several addresses of its own: all of 127.0.0.0/8 on Linux.
fn second() -> Option<IpAddr> {
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    UdpSocket::bind((other, 0)).is_ok().then_some(other)
}

fn sixth() -> Option<IpAddr> {
    let there = UdpSocket::bind((SIXTH, 0)).is_ok();
    if !there {
        println!("there is no IPv6 here");
    }
    there.then_some(SIXTH)
}

/// Asks a STUN server at `at`, and hears nobody else.
async fn stun<R: Runtime>(runtime: &R, at: SocketAddr) {
    let ask = move || {
        let any: IpAddr =
            if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.connect(at).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
        let id: TransactionId = [7; 12];
        socket.send(&Message::request(id, Vec::new()).encode()).expect("sent");
        let mut answer = [0; 1500];
        let len = socket.recv(&mut answer).unwrap_or_else(|e| panic!("no answer from {at}: {e}"));
        assert_eq!(Message::parse(&answer[..len]).expect("STUN").transaction, id);
    };
    runtime.unblock(ask).await;
}

pub(crate) async fn answers_come_from_the_address_that_was_asked<S: Runtime, C: Runtime, V: Runtime>(
    place: &Place<S, C, V>,
) {
    let home = Home::new(place, "addresses").await;
    for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        let key = secret(&place.server);
        let socket = BoundSocket::bind(SocketAddr::new(any, 0)).expect("a socket");
        let port = socket.local_addr().expect("bound").port();
        let dual = socket.local_addr().expect("bound").is_ipv6();
        let server = home::server(place, socket, key.clone());
        for ip in [Some(FIRST), second(), sixth().filter(|_| dual)].into_iter().flatten() {
            let at = SocketAddr::new(ip, port);
            println!("{at} of a server at {any}");
            stun(&place.viewer, at).await;
            // A whole camera and a viewer, who take packets from that address only.
            let bind = SocketAddr::new(any, 0);
            let socket = BoundSocket::bind(bind).expect("a socket");
            let app = home.app.clone();
            let (camera, _events, info) =
                home::camera(place, socket, secret(&place.camera), key.public(), at, app).await;
            let viewer = home::viewer(place, BoundSocket::bind(bind).expect("a socket"));
            let service = viewer.connect(info).await.expect("a service");
            home.check(&viewer, &service).await;
            viewer.shutdown().await;
            camera.shutdown().await;
        }
        // And the camera, asked without a server.
        for ip in [Some(FIRST), second(), sixth().filter(|_| dual)].into_iter().flatten() {
            let socket = BoundSocket::bind(SocketAddr::new(any, 0)).expect("a socket");
            let at = SocketAddr::new(ip, socket.local_addr().expect("bound").port());
            println!("{at} of a camera at {any}");
            let nobody = UdpSocket::bind(anywhere()).expect("a socket").local_addr().expect("bound");
            let (identity, app) = (secret(&place.camera), home.app.clone());
            let (camera, _events) = home::unregistered(place, socket, identity, key.public(), nobody, app);
            let info = camera.xp2p_info(Rights::ALL, None).await.expect("a camera").expect("a known key");
            let viewer = home::viewer(place, BoundSocket::bind(SocketAddr::new(any, 0)).expect("a socket"));
            let service =
                viewer.connect(info.with_lan(vec![at]).expect("an address")).await.expect("a service");
            home.check(&viewer, &service).await;
            viewer.shutdown().await;
            camera.shutdown().await;
        }
        server.shutdown().await;
    }
    home.end().await;
}

/// One socket each for a server, and a viewer of one camera that came over IPv4 and one over IPv6.
pub(crate) async fn both_families_on_one_socket<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let Some(sixth) = sixth() else { return };
    let home = Home::new(place, "families").await;
    let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let key = secret(&place.server);
    let server = home::server(place, BoundSocket::bind(everywhere).expect("a socket"), key.clone());
    let viewer = home::viewer(place, BoundSocket::bind(everywhere).expect("a socket"));
    for ip in [FIRST, sixth] {
        let at = SocketAddr::new(ip, server.local_addr().port());
        let socket = BoundSocket::bind(SocketAddr::new(ip, 0)).expect("a socket");
        let app = home.app.clone();
        let (camera, _events, info) =
            home::camera(place, socket, secret(&place.camera), key.public(), at, app).await;
        let service = viewer.connect(info).await.expect("a service");
        home.check(&viewer, &service).await;
        viewer.stop(service.id).await.expect("running");
        camera.shutdown().await;
    }
    viewer.shutdown().await;
    server.shutdown().await;
    home.end().await;
}

/// With the options that they came with.
pub(crate) async fn sockets_from_outside<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "outside").await;
    let outside = || {
        let socket = UdpSocket::bind(anywhere()).expect("a socket");
        socket.set_ttl(9).expect("a TTL");
        let clone = socket.try_clone().expect("the same socket");
        (BoundSocket::from_std(socket).expect("a good one"), clone)
    };
    let key = secret(&place.server);
    let (socket, server_socket) = outside();
    let server = home::server(place, socket, key.clone());
    let (socket, camera_socket) = outside();
    let at = server.local_addr();
    let (camera, _events, info) =
        home::camera(place, socket, secret(&place.camera), key.public(), at, home.app.clone()).await;
    let (socket, viewer_socket) = outside();
    let viewer = home::viewer(place, socket);
    let service = viewer.connect(info).await.expect("a service");
    home.check(&viewer, &service).await;
    for (socket, at) in [
        (server_socket, server.local_addr()),
        (camera_socket, camera.machine().local_addr()),
        (viewer_socket, viewer.machine().local_addr()),
    ] {
        assert_eq!((socket.local_addr().expect("bound"), socket.ttl().expect("a TTL")), (at, 9));
    }
    viewer.shutdown().await;
    camera.shutdown().await;
    server.shutdown().await;
    home.end().await;

    let connected = UdpSocket::bind(anywhere()).expect("a socket");
    connected.connect(at).expect("loopback");
    let error = BoundSocket::from_std(connected).expect_err("one peer only");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    #[cfg(unix)]
    {
        let tcp = std::net::TcpListener::bind(anywhere()).expect("a listener");
        let error = BoundSocket::from_std(std::os::fd::OwnedFd::from(tcp).into()).expect_err("TCP");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

pub(crate) async fn buffers<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let home = Home::new(place, "buffers").await;
    let socket = UdpSocket::bind(anywhere()).expect("a socket");
    let clone = socket.try_clone().expect("the same socket");
    let asked = (96 << 10, 48 << 10);
    let socket = BoundSocket::from_std(socket).expect("a good one");
    let socket = socket.with_buffers(asked.0, asked.1).expect("small ones");
    let viewer = home::viewer(place, socket);
    let service = viewer.connect(home.info.clone()).await.expect("a service");
    home.check(&viewer, &service).await;
    // A driver that runs on it leaves them alone.
    let (receive, send) = BoundSocket::from_std(clone).expect("the same").buffers().expect("sizes");
    assert!((asked.0..=2 * asked.0).contains(&receive), "{receive}");
    assert!((asked.1..=2 * asked.1).contains(&send), "{send}");
    viewer.shutdown().await;
    home.end().await;
}
