//! Commands: those that the camera answers by itself, and the way of the others to the application.

use bytes::Bytes;

use super::event::CameraEvent;
use super::session::{Context, Refusal, Session};
use crate::command::{
    BuiltIn, DeviceInfo, DeviceStatus, DeviceUse, NvrChannel, NvrList, PlaybackProgress, Reply, status_text,
};
use crate::exchange::Outbox;
use crate::link::StreamId;
use crate::request::{Command, Quality, ResponseHead, Status};

/// `get_device_st`: one more can come.
const ACCEPT: u16 = 0;
/// `get_device_st`: at present none more can come.
const BUSY: u16 = 1;

impl Session {
    pub(super) fn start_command(
        &mut self,
        context: &mut Context<'_>,
        stream: StreamId,
        command: Command,
    ) -> Result<(), Refusal> {
        let builtin = BuiltIn::from_command(&command).map_err(|e| Refusal::new(e.status(), e.to_string()))?;
        if let Some(BuiltIn::DeviceStatus { wanted, quality }) = builtin {
            // Everybody with a capability may ask this, also when the camera is full: it is how they learn that.
            let reply = self.device_status(context, &command, wanted, quality).to_json();
            self.answered();
            self.reply(context, stream, reply);
            return Ok(());
        }
        let room = self.check_apps(context);
        if let Some(BuiltIn::DeviceInfo) = builtin {
            let config = context.config;
            let info = DeviceInfo { product_id: config.product.clone(), device_name: config.name.clone() };
            // This too: where else its pictures can be had, its name says.
            match room {
                Ok(()) => self.allow(context),
                Err(_) => self.answered(),
            }
            self.reply(context, stream, info.to_json());
            return Ok(());
        }
        room?;
        let channel = command.channel;
        match builtin {
            Some(BuiltIn::NvrList) => {
                let reply = nvr_list(context).to_json();
                self.allow(context);
                self.reply(context, stream, reply);
            }
            Some(BuiltIn::RequestIframe) => {
                if !context.config.feeds.iter().any(|f| f.channel == channel) {
                    return Err(Refusal::new(Status::NotFound, format!("there is no channel {channel}")));
                }
                self.allow(context);
                context.events.push_back(CameraEvent::KeyframeWanted { channel });
                self.reply(context, stream, status_text(ACCEPT));
            }
            Some(builtin) if builtin.name().starts_with("playback_") => {
                let reply = self.playback_command(context, channel, builtin)?;
                self.allow(context);
                self.reply(context, stream, reply);
            }
            _ => {
                self.allow(context);
                self.asks.insert(stream);
                let request = self.id(stream);
                context.events.push_back(CameraEvent::Command { request, command });
            }
        }
        Ok(())
    }

    fn device_status(
        &self,
        context: &Context<'_>,
        command: &Command,
        wanted: DeviceUse,
        quality: Quality,
    ) -> DeviceStatus {
        let (load, config) = (context.load, context.config);
        let known = config.feeds.iter().any(|f| f.channel == command.channel);
        let refusal = self.check_apps(context).err().or_else(|| match wanted {
            _ if !known => Some(Refusal::new(Status::NotFound, "")),
            DeviceUse::Live if context.feeds.find(command.channel, quality).is_none() => {
                Some(Refusal::new(Status::NotFound, ""))
            }
            DeviceUse::Live => self.check_live(context, quality).err(),
            DeviceUse::Voice if !config.talk => Some(Refusal::new(Status::CommandUnsupported, "")),
            DeviceUse::Voice if load.talking.is_some() => Some(Refusal::new(Status::TalkBusy, "")),
            DeviceUse::Playback if load.playbacks >= config.max_playbacks => {
                Some(Refusal::new(Status::TooManyViewers, ""))
            }
            DeviceUse::Voice | DeviceUse::Playback => None,
        });
        let status = match refusal.map(|r| r.status) {
            None => ACCEPT,
            Some(Status::TooManyViewers | Status::TalkBusy) => BUSY,
            Some(status) => status.number(),
        };
        DeviceStatus {
            status,
            app_connect_num: Some(load.apps as u64),
            max_connect_num: Some(config.max_connect_num as u64),
        }
    }

    fn playback_command(
        &mut self,
        context: &mut Context<'_>,
        channel: u32,
        builtin: BuiltIn,
    ) -> Result<String, Refusal> {
        let playback = self.playbacks.values_mut().find(|p| p.request.channel == channel && p.is_running());
        let Some(playback) = playback else {
            let reason =
                format!("this app plays no recording of channel {channel} at present; start one first");
            return Err(Refusal::new(Status::NotFound, reason));
        };
        let outside = |ok: bool| {
            let reason = "that lies outside of the playback, or is no range of time";
            if ok { Ok(()) } else { Err(Refusal::new(Status::NotFound, reason)) }
        };
        match builtin {
            BuiltIn::PlaybackPause => playback.pause(),
            BuiltIn::PlaybackResume => playback.resume(),
            BuiltIn::PlaybackSeek(to) => outside(playback.seek(to, context.events))?,
            BuiltIn::PlaybackProgress => {
                return Ok(PlaybackProgress { status: ACCEPT, progress: playback.progress() }.to_json());
            }
            BuiltIn::PlaybackFf { ff } => playback.fast_forward(ff, context.events),
            BuiltIn::PlaybackSpeed { speed } => playback.set_speed(speed),
            BuiltIn::PlaybackRewind { start_time, end_time } => {
                outside(playback.rewind(start_time, end_time, context.events))?;
            }
            // No other name begins so.
            _ => return Err(Refusal::new(Status::CommandUnsupported, "no such command")),
        }
        Ok(status_text(ACCEPT))
    }

    /// Sends an answer.
    fn reply(&mut self, context: &mut Context<'_>, stream: StreamId, body: String) {
        self.queue_reply(context.link, stream, Bytes::from(body));
        self.pump(context.now, context.link, context.events);
    }

    /// Puts an answer in line.
    pub(super) fn queue_reply(&mut self, link: &mut crate::link::Link, stream: StreamId, body: Bytes) {
        let mut head = ResponseHead::new(Status::Ok);
        head.headers.content_length = Some(body.len() as u64);
        head.headers.content_type = Some("application/json".to_owned());
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from(head.to_bytes()));
        outbox.push(body);
        outbox.finish();
        if let Some(quic) = link.quic(self.conn()) {
            // Fails only for a stream that is closed already.
            let _ = quic.send_stream(stream).set_priority(i32::MAX);
        }
        self.replies.insert(stream, outbox);
    }
}

fn nvr_list(context: &Context<'_>) -> NvrList {
    let mut channels: Vec<NvrChannel> = Vec::new();
    for config in &context.config.feeds {
        let online =
            config.qualities.iter().filter_map(|&q| context.feeds.find(config.channel, q)).any(|i| {
                context.feeds.get(i).is_some_and(|f| f.media().header.has_video || f.media().header.has_audio)
            });
        match channels.iter_mut().find(|c| c.channel == config.channel) {
            Some(channel) => channel.online |= online,
            None => channels.push(NvrChannel {
                device_name: if config.name.is_empty() {
                    context.config.name.clone()
                } else {
                    config.name.clone()
                },
                channel: config.channel,
                online,
            }),
        }
    }
    NvrList { channels }
}
