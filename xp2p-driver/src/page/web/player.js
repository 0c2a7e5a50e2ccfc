// The picture: fragmented MP4 from the local server into a MediaSource.

import { $, pause, say, set } from "./util.js";

const TARGET = 0.6; // seconds behind live that are fine
const LATE = 1.0; // from here on it plays a little faster
const LOST = 3.0; // from here on it jumps
const KEEP = 12; // seconds that stay behind the picture
const WAITS = [500, 1000, 2000, 4000, 8000];

export class Player {
  constructor(video) {
    this.video = video;
    this.run = 0; // grows with each opening; what belongs to an older one stops
    this.failures = 0;
    this.url = null;
    this.live = true;
    this.rate = 1;
    this.firstPicture = null;
    this.ended = null; // called at the end of a recording
    this.broken = null; // called when a recording broke off; a live stream is opened again here
    setInterval(() => this.look(), 250);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.live) this.jump();
    });
    video.addEventListener("playing", () => {
      set("overlay", "");
      this.failures = 0;
    });
    video.addEventListener("ended", () => this.ended?.());
  }

  // Shows what is at `url`, relative to the page.
  open(url, { live = true, rate = 1 } = {}) {
    this.close();
    this.url = url;
    this.live = live;
    this.rate = rate;
    this.failures = 0;
    this.start(this.run);
  }

  close() {
    this.run += 1;
    this.abort?.abort();
    this.abort = null;
    this.buffer = null;
  }

  async start(run) {
    set("overlay", this.failures ? "the stream broke off; trying again" : "waiting for a picture");
    try {
      await this.stream(run);
    } catch (error) {
      if (run !== this.run) return;
      set("overlay", error.message);
      if (error.final) return;
      if (!this.live) {
        this.broken?.(error);
        return;
      }
    }
    if (run !== this.run || !this.live) return;
    const wait = WAITS[Math.min(this.failures, WAITS.length - 1)];
    this.failures += 1;
    await pause(wait);
    if (run === this.run) this.start(run);
  }

  async stream(run) {
    const abort = new AbortController();
    this.abort = abort;
    const asked = performance.now();
    let response;
    try {
      response = await fetch(this.url, { signal: abort.signal, cache: "no-store" });
    } catch {
      throw new Error("xp2p cannot be reached; is it still running?");
    }
    if (!response.ok) {
      const words = (await response.text()).trim();
      const error = new Error(words || `xp2p answers ${response.status}`);
      error.final = [400, 401, 403, 404, 501].includes(response.status);
      throw error;
    }
    const type = response.headers.get("content-type") ?? "";
    const notice = response.headers.get("x-xp2p-notice") ?? "";
    set("player-note", notice);
    const Source = window.ManagedMediaSource ?? window.MediaSource;
    if (!Source) throw final("this browser has no MediaSource; open the FLV stream below in VLC, mpv or ffplay");
    if (!Source.isTypeSupported(type)) {
      const codecs = /codecs="?([^"]*)"?/.exec(type)?.[1] ?? type;
      abort.abort();
      throw final(`this browser cannot play ${codecs}; open the FLV stream below in VLC, mpv or ffplay, or use another browser`);
    }
    const source = new Source();
    const url = URL.createObjectURL(source);
    const opened = new Promise((done) => source.addEventListener("sourceopen", done, { once: true }));
    this.video.src = url;
    await opened;
    URL.revokeObjectURL(url);
    if (run !== this.run) return;
    const buffer = source.addSourceBuffer(type);
    this.buffer = buffer;
    this.firstPicture = null;
    this.video.addEventListener("loadeddata", () => { this.firstPicture = performance.now() - asked; }, { once: true });
    this.video.defaultPlaybackRate = this.rate;
    this.video.playbackRate = this.rate;
    this.play();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (run !== this.run) return;
      if (done) break;
      await this.append(buffer, value);
      if (run !== this.run) return;
    }
    if (this.live) throw new Error("the stream has ended; trying again");
    if (source.readyState === "open") source.endOfStream();
  }

  async append(buffer, data) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await settled(buffer, () => buffer.appendBuffer(data));
        return;
      } catch (error) {
        if (error.name !== "QuotaExceededError" || attempt > 100) throw error;
        // What was seen goes first; then it waits until more was.
        const end = Math.max(0, this.video.currentTime - 1);
        if (end > 0 && this.video.buffered.length && this.video.buffered.start(0) < end) {
          await settled(buffer, () => buffer.remove(0, end));
        } else {
          await pause(200);
        }
      }
    }
  }

  play() {
    this.video.play().catch((error) => {
      // Without a touch browsers play only what is silent.
      if (error.name === "NotAllowedError" && !this.video.muted) {
        this.video.muted = true;
        this.video.play().catch(() => set("overlay", "press any button to begin"));
      }
    });
  }

  get edge() {
    const ranges = this.video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) : null;
  }

  get behind() {
    return this.edge === null ? null : Math.max(0, this.edge - this.video.currentTime);
  }

  jump() {
    const edge = this.edge;
    if (edge === null) return;
    const ranges = this.video.buffered;
    const start = ranges.start(ranges.length - 1);
    this.video.currentTime = Math.max(start, edge - TARGET);
  }

  // Stays near the live edge, steps over holes, and drops what was seen.
  look() {
    const { video, buffer } = this;
    if (!buffer || this.edge === null) return;
    const ranges = video.buffered;
    const inside = (time) => {
      for (let i = 0; i < ranges.length; i += 1) {
        if (time >= ranges.start(i) - 0.05 && time <= ranges.end(i)) return true;
      }
      return false;
    };
    if (this.live) {
      const behind = this.behind;
      if (behind > LOST || !inside(video.currentTime)) this.jump();
      else if (behind > LATE) video.playbackRate = 1.1;
      else if (behind < TARGET) video.playbackRate = 1;
      if (video.paused && !document.hidden) this.play();
    } else if (!inside(video.currentTime)) {
      for (let i = 0; i < ranges.length; i += 1) {
        if (ranges.start(i) > video.currentTime) {
          video.currentTime = ranges.start(i);
          break;
        }
      }
    }
    const old = video.currentTime - KEEP;
    if (!buffer.updating && ranges.length && ranges.start(0) < old - KEEP) {
      try {
        buffer.remove(0, old);
      } catch {
        // The source has just been closed.
      }
    }
  }

  // The picture as a PNG.
  async snapshot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) {
      say("there is no picture yet", "bad");
      return null;
    }
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").drawImage(this.video, 0, 0, width, height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }
}

function final(words) {
  const error = new Error(words);
  error.final = true;
  return error;
}

// Does something to a buffer and waits until it is done.
function settled(buffer, work) {
  return new Promise((done, failed) => {
    const broken = () => failed(new Error("this browser cannot decode the stream; use the FLV stream below"));
    const ended = () => {
      buffer.removeEventListener("error", broken);
      done();
    };
    const go = () => {
      try {
        work();
      } catch (error) {
        failed(error);
        return;
      }
      buffer.addEventListener("error", broken, { once: true });
      // Comes after an error, too.
      buffer.addEventListener("updateend", ended, { once: true });
    };
    if (buffer.updating) buffer.addEventListener("updateend", go, { once: true });
    else go();
  });
}
