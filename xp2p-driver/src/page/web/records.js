// The calendar, the day's timeline, and the controls of a recording.

import { $, api, clock, make, say, set } from "./util.js";

const SHORTEST = 5; // seconds; the camera plays nothing shorter
const FPS = 25; // until the recording has shown its own
const USUAL = [5, 8, 10, 12, 15, 20, 24, 25, 30, 50, 60];
const AHEAD = 0.93; // pictures come a little faster than they are shown, so that it does not stutter

const digits = (number, count) => String(number).padStart(count, "0");

export class Records {
  // `open` shows the stream of a query, `chosen` is told of the day.
  constructor(player, { channel, open, live, chosen }) {
    this.player = player;
    this.channel = channel;
    this.open = open;
    this.chosen = chosen;
    const now = new Date();
    this.year = now.getFullYear();
    this.month = now.getMonth(); // from 0
    this.day = null;
    this.playing = null; // the span, and the second that the stream begins with
    this.paused = false;
    this.fps = FPS;
    $("month-before").addEventListener("click", () => this.turn(-1));
    $("month-after").addEventListener("click", () => this.turn(1));
    $("timeline").addEventListener("click", (event) => this.pick(event));
    $("pause").addEventListener("click", () => this.pause());
    $("seek").addEventListener("change", () => this.play(this.playing.span, Number($("seek").value)));
    $("seek").addEventListener("input", () => set("position", clock(Number($("seek").value))));
    $("speed").addEventListener("change", () => {
      this.measure();
      this.play(this.playing.span, this.now());
    });
    $("live").addEventListener("click", () => {
      this.leave();
      live();
    });
    player.ended = () => this.over();
    player.broken = () => this.mend();
    setInterval(() => this.tick(), 300);
  }

  turn(months) {
    const date = new Date(this.year, this.month + months, 1);
    this.year = date.getFullYear();
    this.month = date.getMonth();
    this.load();
  }

  // Shows a month, with the days that have anything marked.
  async load() {
    const { year, month } = this;
    const first = new Date(year, month, 1);
    set("month", first.toLocaleDateString(undefined, { month: "long", year: "numeric" }));
    let days = [];
    try {
      const query = `records/month?channel=${this.channel()}&month=${digits(year, 4)}${digits(month + 1, 2)}`;
      ({ days } = await api(query));
      set("records-status", days.length ? "" : "Nothing is recorded in this month.");
    } catch (error) {
      set("records-status", error.message);
    }
    if (year !== this.year || month !== this.month) return;
    const cells = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"].map((name) => make("span", name));
    for (let i = 0; i < (first.getDay() + 6) % 7; i += 1) cells.push(make("span", ""));
    const count = new Date(year, month + 1, 0).getDate();
    for (let day = 1; day <= count; day += 1) {
      const any = days.includes(day);
      const text = `${digits(year, 4)}${digits(month + 1, 2)}${digits(day, 2)}`;
      const label = new Date(year, month, day).toLocaleDateString(undefined, { dateStyle: "long" });
      const button = make("button", String(day), {
        type: "button", "data-day": text, "aria-label": any ? `${label}, recorded` : label,
        "aria-pressed": String(text === this.day),
      });
      button.classList.toggle("any", any);
      button.addEventListener("click", () => this.choose(text, label));
      cells.push(button);
    }
    $("calendar").replaceChildren(...cells);
  }

  async choose(day, label) {
    this.day = day;
    for (const button of $("calendar").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.day === day));
    }
    set("day", label);
    set("records-status", "asking the camera");
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    try {
      const query = `records/day?channel=${this.channel()}&day=${day}&zone=${encodeURIComponent(zone)}`;
      this.found = await api(query);
    } catch (error) {
      this.found = null;
      set("records-status", error.message);
    }
    if (this.day !== day) return;
    this.draw();
    if (this.found) this.chosen(this.found);
  }

  draw() {
    const { found } = this;
    const line = $("timeline");
    const list = $("spans");
    line.replaceChildren();
    list.replaceChildren();
    if (!found) return;
    const length = found.end - found.start;
    for (const span of found.spans) {
      const bar = make("i", "");
      bar.style.left = `${((span.start - found.start) / length) * 100}%`;
      bar.style.width = `${((span.end - span.start) / length) * 100}%`;
      line.append(bar);
      const minutes = Math.round((span.end - span.start) / 6) / 10;
      const button = make("button", `${clock(span.start)} – ${clock(span.end)} (${minutes} min)`, { type: "button", "data-start": String(span.start) });
      button.addEventListener("click", () => this.play(span, span.start));
      const item = make("li", null);
      item.append(button);
      list.append(item);
    }
    const now = make("i", "");
    now.className = "now";
    now.hidden = true;
    line.append(now);
    set("records-status", found.spans.length ? `Times of ${found.zone}. Click the line, or choose one of the list.` : "Nothing is recorded on this day.");
  }

  // Plays what lies under the pointer, or next to it.
  pick(event) {
    const { found } = this;
    if (!found?.spans.length) return;
    const box = $("timeline").getBoundingClientRect();
    const at = found.start + ((event.clientX - box.left) / box.width) * (found.end - found.start);
    const away = (span) => Math.max(0, span.start - at, at - span.end);
    const span = found.spans.reduce((best, other) => (away(other) < away(best) ? other : best));
    this.play(span, at);
  }

  play(span, at) {
    const last = Math.max(span.start, span.end - SHORTEST);
    const start = Math.floor(Math.min(Math.max(at, span.start), last));
    const end = Math.max(span.end, start + SHORTEST);
    const rate = Number($("speed").value);
    this.playing = { span, start, rate };
    this.pausing(false);
    $("playback").hidden = false;
    $("badge").textContent = "RECORDING";
    $("badge").dataset.mode = "playback";
    $("seek").min = span.start;
    $("seek").max = last;
    $("seek").value = start;
    set("position", clock(start));
    let query = `action=playback&channel=${this.channel()}&start_time=${start}&end_time=${end}`;
    // At another speed the camera sends pictures only, each for so many milliseconds.
    if (rate !== 1) query += `&speed=${Math.max(1, Math.floor((1000 * AHEAD) / this.fps / rate))}`;
    this.open(query, { live: false, rate });
  }

  // How many pictures a second the recording has.
  measure() {
    const { video, rate } = this.player;
    const frames = video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    if (rate === 1 && video.currentTime > 3 && frames > 10) {
      const seen = frames / video.currentTime;
      this.fps = USUAL.reduce((best, other) => (Math.abs(other - seen) < Math.abs(best - seen) ? other : best));
    }
  }

  // The second that is shown.
  now() {
    return this.playing ? this.playing.start + this.player.video.currentTime : 0;
  }

  pausing(on) {
    this.paused = on;
    $("pause").classList.toggle("pressed", on);
    set("pause", on ? "Go on" : "Pause");
  }

  async pause() {
    if (!this.playing) return;
    const on = !this.paused;
    this.pausing(on);
    const { video } = this.player;
    if (on) video.pause();
    else this.player.play();
    try {
      const cmd = on ? "playback_pause" : "playback_resume";
      const outcome = await api("command", { json: { action: "inner", channel: this.channel(), cmd } });
      if (outcome.kind !== "success") throw new Error(outcome.errmsg ?? outcome.kind);
    } catch {
      // Everything has been sent already, or the stream is gone: what is here is enough, or it is asked for anew.
      if (!on && this.player.behind < 0.2) this.play(this.playing.span, this.now());
    }
  }

  // At the end of a recording the next one of the day follows.
  over() {
    if (!this.playing || !this.found) return;
    const { span } = this.playing;
    if (this.now() < span.end - 3) {
      // Another page, or another player, may have asked for a recording of this channel.
      say("the camera plays one recording of a channel at a time, and now another one; choose a time to go on here", "bad");
      return;
    }
    const next = this.found.spans.find((other) => other.start >= span.end && other !== span);
    if (next) this.play(next, next.start);
    else say("the last recording of the day has ended");
  }

  mend() {
    if (!this.playing) return;
    const at = this.now();
    const { playing } = this;
    setTimeout(() => {
      if (this.playing === playing && !this.paused) this.play(playing.span, at);
    }, 2000);
  }

  leave() {
    this.playing = null;
    this.pausing(false);
    $("playback").hidden = true;
    $("badge").textContent = "LIVE";
    $("badge").dataset.mode = "live";
    const now = $("timeline").querySelector(".now");
    if (now) now.hidden = true;
  }

  tick() {
    if (!this.playing || !this.found) return;
    const at = this.now();
    if (document.activeElement !== $("seek") || !$("seek").matches(":active")) {
      $("seek").value = Math.floor(at);
      set("position", clock(Math.floor(at)));
    }
    const now = $("timeline").querySelector(".now");
    if (!now) return;
    now.hidden = at < this.found.start || at > this.found.end;
    now.style.left = `${((at - this.found.start) / (this.found.end - this.found.start)) * 100}%`;
  }
}
