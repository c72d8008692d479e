// Reduces the sound that is played to two numbers per 10 ms: how loud it is, and the phase of a tone.

const WINDOW_SAMPLES = 480;

class SoundTap extends AudioWorkletProcessor {
  constructor({ processorOptions: { tone } }) {
    super();
    this.step = (2 * Math.PI * (tone ?? 0)) / sampleRate;
    this.sample = 0;
    this.clear();
  }

  clear() {
    this.energy = 0;
    this.real = 0;
    this.imaginary = 0;
  }

  process([[left]]) {
    // Without an input nothing is connected or playing; this counts as silence.
    const length = left?.length ?? 128;
    for (let i = 0; i < length; i += 1) {
      const value = left ? left[i] : 0;
      this.energy += value * value;
      this.real += value * Math.cos(this.step * this.sample);
      this.imaginary += value * Math.sin(this.step * this.sample);
      this.sample += 1;
      if (this.sample % WINDOW_SAMPLES === 0) {
        this.port.postMessage([
          Math.sqrt(this.energy / WINDOW_SAMPLES),
          Math.atan2(this.imaginary, this.real),
        ]);
        this.clear();
      }
    }
    return true;
  }
}

registerProcessor("sound-tap", SoundTap);
