// Hands on what the microphone gives. Runs on the audio thread.

class Microphone extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0]?.[0];
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor("microphone", Microphone);
