// Talk: microphone, resampling, and pieces of 100 ms to the local server.

import { $, api, set } from "./util.js";

const WAITING = 10; // pieces that may wait; older ones come too late
const RATE = 8000; // what is asked for; the server answers what it is

export class Talk {
  constructor(channel) {
    this.channel = channel;
    this.on = null; // the talk that runs
    this.wanted = false;
    const hold = $("talk-hold");
    hold.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      hold.setPointerCapture(event.pointerId);
      this.want(true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
      hold.addEventListener(end, () => hold.classList.contains("pressed") && this.want(false));
    }
    hold.addEventListener("contextmenu", (event) => event.preventDefault());
    hold.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) this.want(true);
    });
    hold.addEventListener("keyup", () => hold.classList.contains("pressed") && this.want(false));
    $("talk-toggle").addEventListener("click", () => this.want(!this.wanted, true));
    window.addEventListener("pagehide", () => this.on?.end());
  }

  // Begins or ends, one after the other however fast the buttons are pressed.
  want(on, toggled = false) {
    if (on === this.wanted) return;
    this.wanted = on;
    $("talk-hold").classList.toggle("pressed", on && !toggled);
    $("talk-toggle").classList.toggle("pressed", on);
    set("talk-toggle", on ? "Stop talking" : "Start talking");
    if (!this.busy) this.work();
  }

  async work() {
    this.busy = true;
    while (this.wanted !== Boolean(this.on)) {
      try {
        if (this.wanted) {
          set("talk-status", "asking for the microphone");
          this.on = await Session.start(this.channel(), (words) => this.failed(words));
          set("talk-status", `The camera listens (${this.on.words}).`);
        } else {
          const session = this.on;
          this.on = null;
          set("talk-status", "ending");
          await session.end();
          set("talk-status", "The microphone is off; the camera has heard it all.");
        }
      } catch (error) {
        this.failed(error.message);
      }
    }
    this.busy = false;
  }

  failed(words) {
    const session = this.on;
    this.on = null;
    this.wanted = false;
    session?.close();
    $("talk-hold").classList.remove("pressed");
    $("talk-toggle").classList.remove("pressed");
    set("talk-toggle", "Start talking");
    set("talk-status", words);
  }
}

class Session {
  static async start(channel, failed) {
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give the microphone only to pages of this computer (127.0.0.1) or of https. Open the page on the computer that xp2p runs on.");
    }
    let microphone;
    try {
      microphone = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true },
      });
    } catch (error) {
      throw new Error(refusal(error));
    }
    const session = new Session();
    session.failed = failed;
    session.microphone = microphone;
    try {
      session.context = new AudioContext();
      await session.context.audioWorklet.addModule("page/worklet.js");
      const json = { channel, codec: $("talk-codec").value, rate: RATE };
      const started = await api("talk/start", { json });
      session.number = started.talk;
      session.rate = started.rate;
      session.words = `${started.codec}, ${started.rate} Hz`;
      session.listen();
      await session.context.resume();
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  listen() {
    this.queue = [];
    this.piece = new Int16Array(Math.round(this.rate / 10));
    this.filled = 0;
    this.step = this.context.sampleRate / this.rate;
    this.sum = 0;
    this.count = 0;
    this.until = this.step;
    this.source = this.context.createMediaStreamSource(this.microphone);
    this.node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    this.node.port.onmessage = (event) => this.take(event.data);
    this.source.connect(this.node);
    this.sending = this.send();
  }

  // Each sample is the mean of those that it stands for, which is low-pass enough for a voice.
  take(samples) {
    let loudest = 0;
    for (const sample of samples) {
      loudest = Math.max(loudest, Math.abs(sample));
      this.sum += sample;
      this.count += 1;
      this.until -= 1;
      while (this.until <= 0) {
        const mean = this.count ? this.sum / this.count : sample;
        this.push(mean);
        this.until += this.step;
        this.sum = 0;
        this.count = 0;
      }
    }
    $("talk-level").value = loudest;
  }

  push(sample) {
    this.piece[this.filled] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
    this.filled += 1;
    if (this.filled < this.piece.length) return;
    this.cut();
  }

  cut() {
    // Little-endian whatever this computer is.
    const view = new DataView(new ArrayBuffer(this.filled * 2));
    for (let i = 0; i < this.filled; i += 1) view.setInt16(i * 2, this.piece[i], true);
    this.filled = 0;
    if (view.byteLength) this.queue.push(view.buffer);
    if (this.queue.length > WAITING) this.queue.shift();
    this.wake?.();
  }

  // One request after the other keeps the order.
  async send() {
    for (;;) {
      const body = this.queue.shift();
      if (body) {
        try {
          await api(`talk?talk=${this.number}`, { body, timeout: 5000 });
        } catch (error) {
          if (error.status === 429) continue;
          if (!this.over) this.failed(error.message);
          return;
        }
      } else if (this.over) {
        return;
      } else {
        await new Promise((wake) => { this.wake = wake; });
      }
    }
  }

  // Says the rest, and waits until the camera has heard it.
  async end() {
    if (this.filled) this.cut();
    this.close();
    await this.sending;
    await api(`talk/stop?talk=${this.number}`, { json: {} });
  }

  close() {
    this.over = true;
    this.source?.disconnect();
    this.microphone.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") this.context.close();
    $("talk-level").value = 0;
    this.wake?.();
  }
}

function refusal(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone was refused. Allow it in the browser's address bar, then try again.";
    case "NotFoundError":
      return "There is no microphone. Plug one in, then try again.";
    case "NotReadableError":
      return "Another program uses the microphone. Close it, then try again.";
    default:
      return `The microphone cannot be used: ${error.message}`;
  }
}
