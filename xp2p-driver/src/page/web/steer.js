// The control pad, and the console for commands.

import { $, api, say, set } from "./util.js";

const ARROWS = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };

const PRESETS = [
  ["May I watch?", "inner", "get_device_st", "type=live&quality=high"],
  ["May I talk?", "inner", "get_device_st", "type=voice&quality=high"],
  ["Channels", "inner", "get_nvr_list", ""],
  ["Who are you?", "inner", "get_device_info", ""],
  ["A keyframe, please", "inner", "request_iframe", ""],
  ["Version", "user", '{"topic":"version","data":{}}', ""],
  ["Status", "user", '{"topic":"get_status","data":{}}', ""],
];

// `channel` tells which one is shown.
export function steer(channel) {
  pad(channel);
  commands(channel);
}

function pad(channel) {
  let moving = null;
  // One after the other: a release never overtakes its press.
  let queue = Promise.resolve();
  const send = (move) => {
    const to = channel();
    queue = queue.then(async () => {
      try {
        const outcome = await api("ptz", { json: { channel: to, move } });
        if (outcome.kind !== "success") throw new Error(outcome.errmsg ?? outcome.kind);
        if (move === "release") set("ptz-status", "not turning");
        else set("ptz-status", `turning ${move}`);
      } catch (error) {
        set("ptz-status", "not turning");
        say(`the camera does not turn: ${error.message}`, "bad");
      }
    });
  };
  const press = (move) => {
    if (moving === move) return;
    if (moving) release();
    moving = move;
    for (const button of document.querySelectorAll("[data-move]")) {
      button.classList.toggle("pressed", button.dataset.move === move);
    }
    send(move);
  };
  const release = () => {
    if (!moving) return;
    moving = null;
    document.querySelectorAll("[data-move]").forEach((button) => button.classList.remove("pressed"));
    send("release");
  };
  for (const button of document.querySelectorAll("[data-move]")) {
    button.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      button.setPointerCapture(event.pointerId);
      press(button.dataset.move);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(end, release);
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      press(button.dataset.move);
    });
    button.addEventListener("keyup", (event) => {
      if (event.key === " " || event.key === "Enter") release();
    });
    button.addEventListener("blur", release);
  }
  // Elsewhere arrow keys scroll the page.
  const here = (target) => target.closest("#ptz, #stage") !== null;
  document.addEventListener("keydown", (event) => {
    const move = ARROWS[event.key];
    if (!move || $("ptz").hidden || $("ptz-up").disabled || event.ctrlKey || event.altKey || event.metaKey || !here(event.target)) return;
    event.preventDefault();
    press(move);
  });
  document.addEventListener("keyup", (event) => {
    if (ARROWS[event.key] && ARROWS[event.key] === moving) release();
  });
  window.addEventListener("blur", release);
  document.addEventListener("visibilitychange", () => document.hidden && release());
}

function commands(channel) {
  const preset = $("console-preset");
  PRESETS.forEach(([name], index) => preset.add(new Option(name, String(index))));
  const fill = () => {
    const [, action, cmd, params] = PRESETS[Number(preset.value)];
    $("console-action").value = action;
    $("console-cmd").value = cmd;
    $("console-params").value = params;
  };
  preset.addEventListener("change", fill);
  fill();
  $("console-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const params = Object.fromEntries(new URLSearchParams($("console-params").value));
    const json = {
      action: $("console-action").value, channel: channel(), cmd: $("console-cmd").value.trim(), params,
    };
    $("console-send").disabled = true;
    set("console-out", "…");
    try {
      const outcome = await api("command", { json });
      set("console-out", JSON.stringify(outcome, null, 2));
    } catch (error) {
      set("console-out", error.code ? `${error.message} (${error.code})` : error.message);
    }
    $("console-send").disabled = false;
  });
}
