//! The same scenarios for every driver, and for a viewer on one with a camera on the other: real sockets on loopback, no
//! bounds of wall time. The names of the tests are the list: pair by pair, scenario by scenario.

mod addresses;
mod asking;
mod cancel;
mod home;
mod place;
mod pressure;
mod primitives;
mod restarts;
mod watching;

/// A test for each scenario in each pair, so that none can be forgotten in one of them.
macro_rules! conformance {
    (pair $pair:ident: $($file:ident::$scenario:ident,)+) => {
        mod $pair {
            $(
                #[test]
                fn $scenario() {
                    let place = crate::place::$pair();
                    place.run(crate::$file::$scenario(&place));
                }
            )+
        }
    };
    ($($scenarios:tt)+) => {
        conformance!(pair smol_smol: $($scenarios)+);
        conformance!(pair tokio_tokio: $($scenarios)+);
        conformance!(pair tokio_one_thread: $($scenarios)+);
        conformance!(pair smol_viewer_tokio_camera: $($scenarios)+);
        conformance!(pair tokio_viewer_smol_camera: $($scenarios)+);
    };
}

conformance! {
    primitives::timers,
    primitives::tcp_and_names,
    primitives::blocking_work,
    watching::live,
    watching::playback,
    watching::many_viewers,
    watching::module_and_player,
    asking::commands,
    asking::voice,
    asking::download,
    restarts::server_restart,
    restarts::camera_restart,
    restarts::shutdown_with_streams_open,
    cancel::services_and_streams,
    cancel::requests,
    cancel::transfers,
    cancel::shutdowns,
    cancel::module_init,
    pressure::a_download_that_nobody_stores,
    pressure::a_stream_that_nobody_reads,
    addresses::answers_come_from_the_address_that_was_asked,
    addresses::both_families_on_one_socket,
    addresses::sockets_from_outside,
    addresses::buffers,
}
