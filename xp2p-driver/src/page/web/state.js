// The numbers of the connection.

import { $, api, bytes, make, set } from "./util.js";

const EVERY = 1000;
const WAITS = [1000, 2000, 4000, 8000];

const REASONS = {
  none: "",
  puller: "The origin is read here for the others, too.",
  no_peers: "Nobody else watches: all of it comes from the origin.",
  nat: "Other viewers cannot be reached through the NATs in between.",
  uplink: "The others have no uplink left.",
  late: "Pieces from others came too late.",
  policy: "Sharing is switched off.",
};

const LINKS = {
  direct: "direct",
  relay: "over the relay",
  none: "none yet",
  shared: "shared",
};

const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);

// Asks for the state again and again, and shows it. `changed` is called with each.
export async function watch(player, changed) {
  let failures = 0;
  let last = null;
  for (;;) {
    try {
      const state = await api("state", { timeout: 8000 });
      failures = 0;
      const at = performance.now();
      const sum = state.streams.reduce((all, stream) => all + stream.bytes, 0);
      const rate = last && sum >= last.sum ? ((sum - last.sum) * 8) / (at - last.at) : null;
      last = { sum, at };
      show(state, rate, player);
      changed(state);
    } catch (error) {
      failures += 1;
      pill("over", "no connection");
      set("words", error.message);
    }
    const wait = failures ? WAITS[Math.min(failures, WAITS.length) - 1] : EVERY;
    await new Promise((done) => setTimeout(done, wait));
  }
}

function pill(state, words) {
  $("status").dataset.state = state;
  set("status", words);
}

function show(state, rate, player) {
  pill(state.connection.state, state.connection.state);
  set("words", state.connection.words);
  set("link", LINKS[state.link] ?? state.link);
  set("rtt", ms(state.rtt_ms));
  set("bitrate", rate === null ? "–" : `${Math.round(rate)} kbit/s`);
  const here = player.firstPicture === null ? "" : ` (${ms(player.firstPicture)} here)`;
  set("first-picture", `${ms(state.first_picture_ms)}${here}`);
  set("delay", player.live && player.behind !== null ? `${player.behind.toFixed(1)} s` : "–");
  const quality = player.video.getVideoPlaybackQuality?.();
  set("frames", quality ? `${quality.totalVideoFrames} (${quality.droppedVideoFrames} dropped)` : "–");
  set("bytes-p2p", bytes(state.bytes.p2p.received));
  const swarm = state.kind === "swarm";
  set("p2p-label", swarm ? "From viewers" : "Directly");
  set("other-label", swarm ? "From the origin" : "Over the relay");
  set("bytes-other", bytes(swarm ? state.bytes.origin.received : state.bytes.relay.received));
  if (swarm) shared(state);
  else messages(state.messages);
}

function shared(state) {
  const { sharing } = state;
  $("share").value = sharing.offload;
  set("share-words", `${(sharing.offload * 100).toFixed(1)} % came from other viewers`);
  set("peers", String(sharing.peers));
  set("parents", String(sharing.parents));
  set("children", String(sharing.children));
  set("uploaded", bytes(sharing.upload_bytes));
  set("stalls", `${sharing.stalls} (${(sharing.stall_ms / 1000).toFixed(1)} s)`);
  set("latency", sharing.latency_ms === null ? "not known" : `${(sharing.latency_ms / 1000).toFixed(1)} s`);
  set("reason", sharing.origin_open ? REASONS[sharing.reason] ?? sharing.reason : "The origin is not read at present.");
  for (const [id, on] of [["share-up", state.switch.upload], ["share-down", state.switch.download]]) {
    if (document.activeElement !== $(id)) $(id).checked = on;
  }
}

function messages(list) {
  const place = $("messages");
  place.hidden = list.length === 0;
  const text = list.map((m) => m.text).join("\n");
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren(...list.map((m) => make("li", m.text)));
}
