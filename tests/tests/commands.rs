//! Commands, messages and capacity between a camera and its viewers, over real QUIC in a simulated network.

use std::collections::BTreeMap;
use std::time::Duration;

use xp2p_proto::camera::{CameraConfig, CameraEvent, MessageError};
use xp2p_proto::command::{
    BuiltIn, CallSignal, CommandOutcome, DeviceStatus, DeviceUse, NvrList, Ptz, Reply, message,
};
use xp2p_proto::request::{Command, Live, Quality};
use xp2p_proto::viewer::{CommandKey, ServiceConfig, ServiceId, ViewerEvent};
use xp2p_tests::sim::LinkConfig;
use xp2p_tests::world::{ACCESS, World, WorldConfig, twice};

fn connect(world: &mut World) -> ServiceId {
    let info = world.info();
    let config = ServiceConfig::of_addresses(info);
    world.sim.with(world.viewer, |v, now| v.start_service(now, config).expect("a service"))
}

fn send(world: &mut World, service: ServiceId, command: Command) -> CommandKey {
    world.sim.with(world.viewer, |v, now| v.send_command(now, service, command, None).expect("a command"))
}

fn ends(world: &World) -> Vec<(CommandKey, CommandOutcome)> {
    let end = |e: &ViewerEvent| match e {
        ViewerEvent::CommandDone { command, outcome } => Some((*command, outcome.clone())),
        _ => None,
    };
    world.events.iter().filter_map(|(_, e)| end(e)).collect()
}

fn ask(world: &mut World, service: ServiceId, command: Command) -> CommandOutcome {
    let key = send(world, service, command);
    let known = |w: &World| ends(w).into_iter().find(|(k, _)| *k == key).map(|(_, o)| o);
    assert!(world.run_until(Duration::from_secs(10), |w| known(w).is_some()), "no end");
    known(world).expect("an end")
}

fn data(outcome: CommandOutcome) -> Vec<u8> {
    match outcome {
        CommandOutcome::Success { data } => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_camera_answers_what_it_knows_and_its_application_the_rest() {
    twice(|| {
        let mut world = World::with_camera(WorldConfig::new(1), |c| c.talk = true);
        let service = connect(&mut world);
        let status = BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: Quality::High };
        let reply = data(ask(&mut world, service, status.to_command(0)));
        assert_eq!(
            String::from_utf8_lossy(&reply),
            r#"[{"status":"0","appConnectNum":"0","maxConnectNum":"16"}]"#
        );
        let reply = NvrList::parse(&data(ask(&mut world, service, BuiltIn::NvrList.to_command(0)))).unwrap();
        assert_eq!(reply.channels.len(), 1);
        assert_eq!((reply.channels[0].device_name.as_str(), reply.channels[0].online), ("device", true));
        let reply = data(ask(&mut world, service, Ptz::Left.command(0)));
        assert!(String::from_utf8_lossy(&reply).contains("ptz_left_press"));
        assert_eq!(
            data(ask(&mut world, service, BuiltIn::RequestIframe.to_command(0))),
            br#"{"status":"0"}"#
        );
        assert!(world.app.events.iter().any(|e| matches!(e, CameraEvent::KeyframeWanted { channel: 0 })));
        // The application of this world knows no calls.
        let outcome = ask(&mut world, service, BuiltIn::Call(CallSignal::Answer).to_command(0));
        assert!(matches!(outcome, CommandOutcome::Failure { status: 406, .. }), "{outcome:?}");
        let outcome = ask(&mut world, service, BuiltIn::PlaybackPause.to_command(0));
        assert!(matches!(outcome, CommandOutcome::Failure { status: 404, .. }), "{outcome:?}");
        let outcome = ask(&mut world, service, status.to_command(7));
        let none = DeviceStatus::parse(&data(outcome)).unwrap();
        assert_eq!((none.status, none.app_connect_num), (404, Some(1)));
    });
}

#[test]
fn a_command_without_an_answer_times_out_after_seven_and_a_half_seconds() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(2));
        let service = connect(&mut world);
        world.run(Duration::from_secs(1));
        world.app.silent = true;
        let from = world.sim.elapsed();
        assert_eq!(ask(&mut world, service, Ptz::Up.command(0)), CommandOutcome::Timeout);
        let took = world.sim.elapsed() - from;
        assert!((7500..7600).contains(&took.as_millis()), "{took:?}");
        assert_eq!(world.app.commands.len(), 1, "it was delivered");
    });
}

#[test]
fn a_command_that_was_sent_is_never_sent_again_and_one_that_was_not_waits_for_the_camera() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(3));
        let service = connect(&mut world);
        world.run(Duration::from_secs(1));
        world.app.silent = true;
        let sent = send(&mut world, service, Ptz::Up.command(0));
        world.run(Duration::from_secs(1));
        assert_eq!(world.app.commands.len(), 1);
        world.app.silent = false;
        world.restart_camera();
        world.run_until(Duration::from_secs(12), |w| !ends(w).is_empty());
        let outcomes = ends(&world);
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].0, sent);
        assert!(matches!(outcomes[0].1, CommandOutcome::Error { .. } | CommandOutcome::Timeout));
        let reply = data(ask(&mut world, service, Ptz::Down.command(0)));
        assert!(String::from_utf8_lossy(&reply).contains("ptz_down_press"));
        assert_eq!(world.app.commands.len(), 2, "none came twice");
    });
}

/// Issue 3: 1,000 commands in flight over 5 % loss; each is answered exactly once or times out, none twice.
#[test]
fn a_thousand_commands_over_a_bad_network_each_end_exactly_once() {
    twice(|| {
        let mut config = WorldConfig::new(4);
        config.camera_link = LinkConfig::latency(ACCESS).both(|p| p.loss = 0.05);
        let mut world = World::new(config);
        let service = connect(&mut world);
        let keys: BTreeMap<CommandKey, u32> = (0..1000)
            .map(|n| (send(&mut world, service, Command::user_defined(0, &format!("number {n}"))), n))
            .collect();
        assert_eq!(keys.len(), 1000);
        world.run(Duration::from_secs(12));
        let all = ends(&world);
        assert_eq!(all.len(), 1000, "one end each");
        let mut seen = BTreeMap::new();
        let mut answered = 0;
        for (key, outcome) in all {
            assert!(seen.insert(key, ()).is_none(), "two ends");
            match outcome {
                CommandOutcome::Success { data } => {
                    let wanted = format!("{{\"echo\":\"number {}\"}}", keys[&key]);
                    assert_eq!(String::from_utf8_lossy(&data), wanted, "the answer to another command");
                    answered += 1;
                }
                CommandOutcome::Timeout => {}
                other => panic!("{other:?}"),
            }
        }
        let mut texts = world.app.commands.clone();
        let delivered = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), delivered, "a command was delivered twice");
        println!("{answered} of 1000 answered, {} timed out", 1000 - answered);
        assert!(answered > 990, "{answered} answered");
    });
}

#[test]
fn a_message_reaches_only_who_watches_and_its_answer_comes_back() {
    twice(|| {
        let mut world = World::new(WorldConfig::new(5));
        let service = connect(&mut world);
        assert!(ask(&mut world, service, Ptz::Up.command(0)).json().is_some());
        let viewer = world.sim.with(world.camera, |c, _| c.viewers()[0].viewer);
        let text = message("somebody rings");
        let send = |world: &mut World| {
            world.sim.with(world.camera, |c, now| c.send_message(now, viewer, &text, Duration::from_secs(5)))
        };
        assert_eq!(send(&mut world), Err(MessageError::NotListening));
        world.sim.with(world.viewer, |v, now| v.start_live(now, service, Live::default()).unwrap());
        world.run(Duration::from_secs(2));
        send(&mut world).unwrap();
        send(&mut world).unwrap();
        world.run(Duration::from_secs(1));
        let messages: Vec<_> = world
            .events
            .iter()
            .filter_map(|(_, e)| match e {
                ViewerEvent::Message { message, text } => Some((*message, text.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].1, r#"{"iv_private_cmd":"somebody rings"}"#);
        world.sim.with(world.viewer, |v, _| {
            assert!(v.reply_message(messages[0].0, "coming"));
            assert!(!v.reply_message(messages[0].0, "twice"), "an answer goes out once");
        });
        world.run(Duration::from_secs(6));
        let reply = CommandOutcome::Success { data: "coming".into() };
        assert_eq!(world.app.replies, [reply, CommandOutcome::Timeout]);
    });
}

#[test]
fn a_full_camera_says_so() {
    fn limits(config: &mut CameraConfig) {
        config.max_viewers = 1;
        config.max_connect_num = 2;
        config.max_connections = 8;
    }
    twice(|| {
        let mut world = World::with_camera(WorldConfig::new(6), limits);
        world.watch();
        world.run(Duration::from_secs(2));
        let refused = |world: &World, status: u16| {
            let is =
                |e: &ViewerEvent| matches!(e, ViewerEvent::Parsed { head, .. } if head.status() == status);
            world.events.iter().filter(|(_, e)| is(e)).count()
        };
        let second = connect(&mut world);
        world.sim.with(world.viewer, |v, now| v.start_live(now, second, Live::default()).unwrap());
        world.run(Duration::from_secs(1));
        assert_eq!(refused(&world, 503), 1, "{:?}", world.events);
        let status = BuiltIn::DeviceStatus { wanted: DeviceUse::Live, quality: Quality::High };
        let busy = DeviceStatus::parse(&data(ask(&mut world, second, status.to_command(0)))).unwrap();
        assert_eq!((busy.status, busy.app_connect_num, busy.max_connect_num), (1, Some(1), Some(2)));
        // The second app may still send commands; a third one may not even do that, but hears why.
        data(ask(&mut world, second, Ptz::Up.command(0)));
        let third = connect(&mut world);
        let outcome = ask(&mut world, third, Ptz::Up.command(0));
        assert!(matches!(outcome, CommandOutcome::Failure { status: 405, .. }), "{outcome:?}");
        let full = DeviceStatus::parse(&data(ask(&mut world, third, status.to_command(0)))).unwrap();
        assert_eq!((full.status, full.app_connect_num), (405, Some(2)));
    });
}

#[test]
fn a_quality_has_a_limit_of_its_own() {
    fn limits(config: &mut CameraConfig) {
        config.quality_limits = vec![(Quality::Super, 1)];
    }
    twice(|| {
        let mut world = World::with_camera(WorldConfig::new(7), limits);
        let statuses: Vec<u16> = [Quality::Super, Quality::Super, Quality::High]
            .map(|quality| {
                let service = connect(&mut world);
                let live = Live { quality, ..Live::default() };
                let stream = world.sim.with(world.viewer, |v, now| v.start_live(now, service, live).unwrap());
                world.run(Duration::from_secs(2));
                let status = world.events.iter().find_map(|(_, e)| match e {
                    ViewerEvent::Parsed { stream: s, head } if *s == stream => Some(head.status()),
                    _ => None,
                });
                status.expect("an answer")
            })
            .to_vec();
        assert_eq!(statuses, [200, 503, 200]);
    });
}
