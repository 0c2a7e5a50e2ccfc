// Puts the page together.

import { $, api, make, save, say, set } from "./util.js";
import { Player } from "./player.js";
import { watch } from "./state.js";
import { steer } from "./steer.js";
import { Records } from "./records.js";
import { Files } from "./files.js";
import { Talk } from "./talk.js";

const player = new Player($("video"));
const channel = () => Number($("channel").value);
let state = null;

const place = () => encodeURIComponent(state.id);

// Shows the stream of a query: what is live, or a recording.
function open(query, options) {
  player.open(`${place()}/live.mp4?${query}`, options);
}

function live() {
  if (state.kind === "swarm") {
    open("", { live: true });
    $("flv").href = `${place()}/stream.flv`;
    return;
  }
  const query = `action=live&channel=${channel()}&quality=${$("quality").value}`;
  open(query, { live: true });
  $("flv").href = `${place()}/ipc.flv?${query}`;
}

const records = new Records(player, { channel, open, live, chosen: (day) => files.show(day) });
const files = new Files(channel);
new Talk(channel);
steer(channel);

// The first state decides what there is to see.
function begin() {
  const camera = state.kind === "camera";
  document.querySelectorAll(".camera").forEach((part) => { part.hidden = !camera; });
  $("channel-field").hidden = !camera;
  $("quality-field").hidden = !camera;
  $("swarm").hidden = camera;
  if (camera) {
    fillChannels([{ channel: state.main.channel, name: "", online: true }]);
    $("channel").value = String(state.main.channel);
    $("quality").value = state.main.quality;
    lock(state.features);
    records.load();
  }
  live();
}

function fillChannels(list) {
  const text = JSON.stringify(list);
  const select = $("channel");
  if (select.dataset.text === text) return;
  select.dataset.text = text;
  const now = select.value;
  select.replaceChildren(...list.map(({ channel: number, name, online }) => {
    const words = [String(number), name, online ? "" : "(off)"].filter(Boolean).join(" ");
    return new Option(words, String(number));
  }));
  if (list.some((c) => String(c.channel) === now)) select.value = now;
}

// What the device cannot do, or this viewer may not, is told and not offered.
function lock(features) {
  const parts = { command: ["ptz", "console"], voice: ["talk"], playback: ["records"], download: ["files"] };
  for (const { name, available, why } of features) {
    for (const id of available ? [] : parts[name] ?? []) {
      const part = $(id);
      part.querySelectorAll("button, select, input").forEach((control) => { control.disabled = true; });
      if (!part.querySelector(".why")) part.append(make("p", `Not here: ${why}.`, { class: "note why" }));
    }
  }
}

function changed(next) {
  const first = state === null;
  state = next;
  if (first) begin();
  const name = next.kind === "swarm" ? "Shared stream" : [next.product, next.device].filter(Boolean).join("/") || "Camera";
  set("title", name);
  if (document.title !== `${name} – xp2p`) document.title = `${name} – xp2p`;
  if (next.channels?.length) fillChannels(next.channels);
}

for (const id of ["channel", "quality"]) {
  $(id).addEventListener("change", () => {
    records.leave();
    live();
    if (id === "channel") records.load();
  });
}

$("mute").addEventListener("click", () => {
  player.video.muted = !player.video.muted;
});
player.video.addEventListener("volumechange", () => {
  const { muted } = player.video;
  set("mute", muted ? "Sound is off" : "Sound is on");
});

$("snapshot").addEventListener("click", async () => {
  const picture = await player.snapshot();
  if (!picture) return;
  const name = (state?.device ?? "picture").replace(/[^\w.-]/g, "_");
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  save(picture, `${name}-${time}.png`);
  say("the picture was saved");
});

$("fullscreen").addEventListener("click", async () => {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else if ($("stage").requestFullscreen) await $("stage").requestFullscreen();
    else player.video.webkitEnterFullscreen();
  } catch {
    say("this browser does not allow full screen here", "bad");
  }
});

for (const [id, field] of [["share-up", "upload"], ["share-down", "download"]]) {
  $(id).addEventListener("change", async () => {
    try {
      await api("sharing", { json: { [field]: $(id).checked } });
      say("changed");
    } catch (error) {
      $(id).checked = !$(id).checked;
      say(error.message, "bad");
    }
  });
}

watch(player, changed);
