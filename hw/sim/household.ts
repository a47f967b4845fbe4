/**
 * A simulated household behind an energy meter: loads that come and go, a mains voltage that breathes, and registers
 * that agree with each other as a real meter's do (S² = P² + Q², S = U·I, PF = P/S). The loads obey the relay twin's
 * contact, not what the firmware believes of it.
 */

import { seededRandom } from '#hw/random';
import { readRelayValue } from '#hw/sim/relay';

export interface HouseholdOptions {
  readonly seed: number;
  /** Folder of the relay twin; without one the load is always connected. */
  readonly relayFolder?: string;
  /** Active energy at the start, Wh. */
  readonly activeEnergyWh?: number;
}

/** Register values in the resolution of an OR-WE-514. */
export interface HouseholdState {
  /** 0.01 V */
  voltage: number;
  /** 0.001 A */
  current: number;
  /** 0.01 Hz */
  frequency: number;
  /** W */
  activePower: number;
  /** var */
  reactivePower: number;
  /** VA */
  apparentPower: number;
  /** 0.001 */
  powerFactor: number;
  /** 0.01 kWh */
  activeEnergy: number;
  /** 0.01 kvarh */
  reactiveEnergy: number;
}

/** An appliance that is on for a share of a period: `on` seconds every `every` seconds, both varied by chance. */
interface Appliance {
  readonly powerW: number;
  /** Reactive power as a share of the active one. */
  readonly tanPhi: number;
  readonly onS: number;
  readonly everyS: number;
}

const APPLIANCES: readonly Appliance[] = [
  { powerW: 85, tanPhi: 0.35, onS: 1, everyS: 1 }, // what is always on
  { powerW: 95, tanPhi: 0.85, onS: 240, everyS: 600 }, // refrigerator
  { powerW: 1450, tanPhi: 0, onS: 14, everyS: 41 }, // cooking plate on its thermostat
  { powerW: 2050, tanPhi: 0, onS: 70, everyS: 420 }, // kettle
  { powerW: 120, tanPhi: 0.2, onS: 900, everyS: 1800 }, // lamps
];

export class Household {
  private readonly options: HouseholdOptions;
  private readonly random: () => number;
  private readonly switches: { on: boolean; untilS: number }[];
  private activeWs: number;
  private reactiveVars = 0;
  private lastS: number | undefined;
  private drift = 0;
  private state: HouseholdState;

  constructor(options: HouseholdOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    this.activeWs = (options.activeEnergyWh ?? 1_979_360 + Math.floor(this.random() * 1e6)) * 3600;
    this.reactiveVars = this.activeWs * 0.3;
    this.switches = APPLIANCES.map((a) => ({ on: a.onS >= a.everyS, untilS: this.random() * a.everyS * 0.3 }));
    this.state = this.measure(0);
  }

  /** Registers at a time; the model advances at most once every 200 ms, about as often as a real meter. */
  at(nowMs: number): HouseholdState {
    const nowS = nowMs / 1000;
    if (this.lastS === undefined) this.lastS = nowS;
    const elapsed = nowS - this.lastS;
    if (elapsed >= 0.2) {
      this.activeWs += this.state.activePower * elapsed;
      this.reactiveVars += Math.abs(this.state.reactivePower) * elapsed;
      this.lastS = nowS;
      this.state = this.measure(nowS);
    }
    return this.state;
  }

  private measure(nowS: number): HouseholdState {
    this.drift = 0.98 * this.drift + (this.random() - 0.5) * 0.4;
    const connected = this.options.relayFolder === undefined || readRelayValue(this.options.relayFolder) !== false;
    let p = 0;
    let q = 0;
    APPLIANCES.forEach((appliance, i) => {
      if (!this.isOn(i, nowS) || !connected) return;
      const watts = appliance.powerW * (1 + (this.random() - 0.5) * 0.02);
      p += watts;
      q += watts * appliance.tanPhi;
    });
    // The line's own resistance lets the voltage sag under load.
    const volts = 231.4 + this.drift - 0.0012 * p;
    const activePower = Math.round(p);
    const reactivePower = Math.round(q);
    const apparentPower = Math.round(Math.hypot(activePower, reactivePower));
    return {
      voltage: Math.round(volts * 100),
      current: Math.round((apparentPower / volts) * 1000),
      frequency: Math.round(5000 + this.drift * 2),
      activePower,
      reactivePower,
      apparentPower,
      powerFactor: apparentPower === 0 ? 1000 : Math.round((activePower / apparentPower) * 1000),
      activeEnergy: Math.floor(this.activeWs / 36_000),
      reactiveEnergy: Math.floor(this.reactiveVars / 36_000),
    };
  }

  private isOn(index: number, nowS: number): boolean {
    const { onS, everyS } = APPLIANCES[index]!;
    const state = this.switches[index]!;
    if (onS < everyS && nowS >= state.untilS) {
      state.on = !state.on;
      state.untilS = nowS + (state.on ? onS : everyS - onS) * (0.7 + 0.6 * this.random());
    }
    return state.on;
  }
}
