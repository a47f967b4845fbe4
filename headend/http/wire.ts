/**
 * The JSON bodies of the HTTP API as types, shared by the server and the page. Times are RFC 3339 text in UTC with
 * milliseconds, power in W, energy in Wh, OBIS codes canonical text (`1-0:32.7.0.255`). Types only: nothing here runs.
 */

/** Quality of a value now: what the meter said of it, overruled by its age. */
export type Quality = 'good' | 'suspect' | 'stale' | 'missing';

/**
 * State of a meter as the head end sees it. `unknown`: never asked since the head end started. `late`: the newest reading
 * is older than two intervals. `stale`: older than the limit. `offline`: it does not answer.
 */
export type MeterState = 'unknown' | 'online' | 'late' | 'stale' | 'offline';

export type CommandType = 'connect' | 'disconnect' | 'message' | 'sync-clock' | 'firmware';
export type CommandState = 'queued' | 'sent' | 'acknowledged' | 'verified' | 'failed' | 'expired' | 'unknown';
export type Severity = 'info' | 'warning' | 'error';

export interface ValueBody {
  readonly obis: string;
  readonly name: string;
  /** null when missing: never 0 for "no data". */
  readonly value: number | null;
  readonly unit: string;
  readonly measuredAt: string | null;
  readonly receivedAt: string;
  readonly ageMs: number;
  readonly quality: Quality;
}

export interface PathBody {
  readonly fingerprint: string;
  readonly hops: string;
  readonly isds: readonly number[];
  readonly rttMs: number | null;
}

export interface PathReportBody extends PathBody {
  readonly pinned: boolean;
  /** Shares no link with the chosen path. */
  readonly disjoint: boolean;
  readonly announcedBandwidthKbit: number | null;
  readonly state: 'unknown' | 'alive' | 'suspect' | 'down';
  readonly chosen: boolean;
  readonly forbidden: string | null;
  readonly mtu: number;
  readonly expiresAt: string;
  readonly announcedLatencyMs: number | null;
}

/** What an operator wants of the paths to a meter. */
export interface PathPolicyBody {
  readonly acl: readonly string[];
  readonly sequence: string;
  readonly pin: string | null;
  readonly preference: 'latency' | 'hops' | 'mtu' | 'bandwidth' | 'disjoint';
}

/** The policy in force of one meter. */
export interface MeterPathPolicyBody extends PathPolicyBody {
  readonly meter: string;
  /** Whether the meter has one of its own. */
  readonly own: boolean;
  /** Access control list of the head end's configuration; it always holds, and the meter's can only narrow it. */
  readonly fence: readonly string[];
}

/** What a policy would make of the candidates. */
export interface PathEvaluationBody {
  readonly meter: string;
  readonly kept: number;
  readonly dropped: number;
  /** Whether two of the kept paths share no link: what losing one link survives. */
  readonly survivesOneCut: boolean;
  /** The paths as they would be, the one marked that would be chosen. */
  readonly paths: readonly PathReportBody[];
}

/** Answer of a single read, and the `reading` event of the stream. */
export interface ReadingBody {
  readonly meter: string;
  readonly receivedAt: string;
  readonly delayMs: number;
  readonly path: PathBody | null;
  readonly values: readonly ValueBody[];
}

export interface ControlBody {
  readonly controlState: string;
  readonly outputState: boolean;
  readonly readAt: string;
  readonly ageMs: number;
}

export interface MessageBody {
  readonly text: string;
  readonly readAt: string;
}

/** The meter's clock beside the head end's. */
export interface ClockBody {
  /** Whether the meter believes its clock; if not, it obeys no command until somebody sets it. */
  readonly isSet: boolean;
  /** Meter minus head end, ms; known to half of the round trip. */
  readonly offsetMs: number;
  readonly roundTripMs: number;
  readonly readAt: string;
}

export interface LiveBody {
  readonly intervalMs: number;
  readonly viewers: number;
  /** Readings a second over the last ten seconds. */
  readonly achievedPerSecond: number;
  readonly delayP50Ms: number | null;
  readonly delayP95Ms: number | null;
}

/** Where a meter stands, without its values: the `state` event of the stream. */
export interface MeterStateBody {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly state: MeterState;
  /** Error code of the last failed attempt, null when the last attempt succeeded. */
  readonly reason: string | null;
  readonly detail: string | null;
  readonly lastSeenAt: string | null;
  /** Age of the newest reading, null before the first. */
  readonly ageMs: number | null;
  /** From this age the reading counts as stale; the page uses it to age values between events. */
  readonly staleAfterMs: number;
  readonly lateAfterMs: number;
  readonly nextTryAt: string | null;
  readonly live: LiveBody | null;
  readonly control: ControlBody | null;
  readonly clock: ClockBody | null;
  readonly message: MessageBody | null;
  /** Longest message in bytes of UTF-8. */
  readonly messageLimit: number;
}

export interface MeterBody extends MeterStateBody {
  readonly values: readonly ValueBody[];
  readonly path: PathBody | null;
  readonly lastCommand: CommandBody | null;
  /** Whether a disconnect needs a token from this client. */
  readonly disconnectNeedsToken: boolean;
}

export interface CommandStage {
  readonly state: CommandState;
  readonly at: string;
}

/** What was read back from the meter after the command. */
export interface EvidenceBody {
  readonly controlState?: string;
  readonly outputState?: boolean;
  /** Active power after the switch, null when the meter had none. */
  readonly powerAfterW?: number | null;
  readonly text?: string;
  /** Version of the firmware that runs. */
  readonly firmware?: string;
  /** The meter's clock before and after it was set. */
  readonly clockBefore?: ClockBody;
  readonly clock?: ClockBody;
  readonly pathFingerprint?: string | null;
  readonly readAt: string;
}

/** A firmware image as it says of itself. */
export interface ImageBody {
  readonly model: string;
  readonly version: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** How far an image's way to the meter is. */
export interface ProgressBody {
  /** Blocks that the meter holds. */
  readonly stored: number;
  /** Of the image; 0 while it is not known. */
  readonly blocks: number;
  /** What it waits for; null while it goes on. */
  readonly waiting: string | null;
}

export interface CommandBody {
  readonly id: string;
  readonly meter: string;
  readonly type: CommandType;
  readonly reason: string | null;
  readonly text: string | null;
  readonly actor: string;
  readonly state: CommandState;
  readonly stages: readonly CommandStage[];
  readonly createdAt: string;
  readonly expiresAt: string;
  /** Of a firmware command. */
  readonly image: ImageBody | null;
  /** While the image is brought to the meter. */
  readonly progress: ProgressBody | null;
  readonly evidence: EvidenceBody | null;
  readonly error: { readonly code: string; readonly title: string; readonly detail: string } | null;
}

export interface LeaseBody {
  readonly lease: string;
  readonly meter: string;
  readonly intervalMs: number;
  /** The lease ends here unless it is renewed or its stream is open. */
  readonly expiresAt: string;
  readonly viewers: number;
}

export interface EventBody {
  readonly seq: number;
  readonly at: string;
  readonly kind: string;
  readonly severity: Severity;
  readonly meter: string | null;
  readonly message: string;
}

export interface PointBody {
  readonly at: string;
  readonly value: number | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly count: number;
  readonly quality: Quality;
}

export interface HistoryBody {
  readonly meter: string;
  readonly from: string;
  readonly to: string;
  readonly resolution: string;
  readonly series: readonly { readonly obis: string; readonly points: readonly PointBody[] }[];
}

export interface ProfileBody {
  readonly meter: string;
  readonly profile: string;
  readonly from: string;
  readonly to: string;
  readonly periodS: number;
  readonly columns: readonly { readonly obis: string; readonly name: string; readonly unit: string }[];
  readonly rows: readonly {
    readonly at: string | null;
    readonly quality: Quality;
    readonly values: readonly (number | null)[];
  }[];
}

export interface MeterLogBody {
  readonly meter: string;
  readonly log: string;
  readonly from: string;
  readonly to: string;
  readonly events: readonly { readonly at: string | null; readonly code: number; readonly text: string }[];
}

export interface SelfTestBody {
  readonly meter: string;
  /** No check has failed. */
  readonly passed: boolean;
  readonly checks: readonly {
    readonly check: string;
    readonly result: 'PASS' | 'FAIL' | 'SKIP';
    readonly text: string;
    /** What to do; null unless the check has failed. */
    readonly hint: string | null;
  }[];
}

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly pointer?: string;
}
