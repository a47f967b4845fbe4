/**
 * Sequences: regular expressions over the hops of a path (scionproto antlr/Sequence.g4, private/path/pathpol).
 *
 *   hop        ISD | ISD-AS | ISD-AS#IF | ISD-AS#IN,OUT      0 is a wildcard; one IF is either side
 *   operators  ? + *  bind tightest, then |, then writing hops one after the other; ( ) group
 *
 * Every AS of the path is a hop, source (in = 0) and destination (out = 0) too. A sequence is matched by following all its
 * possibilities at once, hop by hop: the work is hops times parts, whatever the sequence, since sequences come from users.
 * Stricter than the official parser in one thing: numbers that no hop can have and AS numbers written otherwise than
 * printed (`1-FF00:0:110`) are errors there too, where it accepts what never matches.
 */

import { type ConfigError, invalidConfig } from '#base/errors';
import { asOf, formatAs, isdOf, parseAs } from '#scion/isd-as';
import type { PathInterface } from '#scion/path-metadata';

/** 0 matches everything. */
export interface SequenceHop {
  readonly isd: number;
  readonly as: bigint;
  /** [] matches any, [either], or [inbound, outbound]. */
  readonly interfaces: readonly number[];
}

export type SequenceNode =
  | { readonly kind: 'hop'; readonly hop: SequenceHop }
  | { readonly kind: 'then' | 'or'; readonly left: SequenceNode; readonly right: SequenceNode }
  | { readonly kind: '?' | '+' | '*'; readonly of: SequenceNode };

/** One step of the matcher: take a hop and go on, or go on at two places, or accept. */
type Step =
  | { readonly hop: SequenceHop; readonly next: number }
  | { readonly either: readonly [number, number] }
  | undefined;

export interface Sequence {
  readonly text: string;
  readonly root: SequenceNode;
  /** Step 0 accepts. */
  readonly steps: readonly Step[];
  readonly start: number;
}

/** More tokens than any real sequence has; bounds the recursion and the work of a match. */
const MAX_TOKENS = 1000;

const GROUP = '(?:[1-9a-fA-F][0-9a-fA-F]*|0)';
/** The longest token wins, so an AS in hexadecimal groups is tried before a decimal one. */
const TOKEN = new RegExp(`[ \\t\\r\\n]+|-${GROUP}:${GROUP}:${GROUP}|-[1-9][0-9]*|-0|[1-9][0-9]*|0|[#,?+*|()]`, 'y');

/**
 * Reads a sequence.
 * @throws ConfigError `config.invalid` saying where and what was expected
 */
export function parseSequence(text: string): Sequence {
  const root = new Parser(text).parse();
  const steps: Step[] = [undefined];
  const start = compile(root, 0, steps);
  return { text, root, steps, start };
}

/** Whether a path given by its interfaces, an even number in order of travel, matches. */
export function sequenceMatches(sequence: Sequence, interfaces: readonly PathInterface[]): boolean {
  if (interfaces.length % 2 !== 0) return false;
  let at = new Set<number>();
  reach(sequence.steps, sequence.start, at);
  for (let i = 0; i <= interfaces.length && interfaces.length > 0; i += 2) {
    const inbound = interfaces[i - 1];
    const outbound = interfaces[i];
    const { ia } = (inbound ?? outbound)!;
    const next = new Set<number>();
    for (const index of at) {
      const step = sequence.steps[index];
      if (step === undefined || !('hop' in step)) continue;
      if (hopMatches(step.hop, ia, inbound?.id ?? 0, outbound?.id ?? 0)) reach(sequence.steps, step.next, next);
    }
    if (next.size === 0) return false;
    at = next;
  }
  return at.has(0);
}

function hopMatches({ isd, as, interfaces }: SequenceHop, ia: bigint, inbound: number, outbound: number): boolean {
  if (isd !== 0 && isd !== isdOf(ia)) return false;
  if (as !== 0n && as !== asOf(ia)) return false;
  const [first = 0, second] = interfaces;
  if (second === undefined) return first === 0 || first === inbound || first === outbound;
  return (first === 0 || first === inbound) && (second === 0 || second === outbound);
}

/** Adds a step and all that follow from it without taking a hop. */
function reach(steps: readonly Step[], start: number, into: Set<number>): void {
  const todo = [start];
  for (let index = todo.pop(); index !== undefined; index = todo.pop()) {
    if (into.has(index)) continue;
    into.add(index);
    const step = steps[index];
    if (step !== undefined && 'either' in step) todo.push(...step.either);
  }
}

/** Appends the steps of a node that goes on at `next`. @returns where it begins */
function compile(node: SequenceNode, next: number, steps: Step[]): number {
  switch (node.kind) {
    case 'hop':
      return steps.push({ hop: node.hop, next }) - 1;
    case 'then':
      return compile(node.left, compile(node.right, next, steps), steps);
    case 'or':
      return steps.push({ either: [compile(node.left, next, steps), compile(node.right, next, steps)] }) - 1;
    case '?':
      return steps.push({ either: [compile(node.of, next, steps), next] }) - 1;
    default: {
      // The fork stands behind the node and leads back into it.
      const fork = steps.push(undefined) - 1;
      const start = compile(node.of, fork, steps);
      steps[fork] = { either: [start, next] };
      return node.kind === '*' ? fork : start;
    }
  }
}

class Parser {
  private readonly tokens: string[] = [];
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
    TOKEN.lastIndex = 0;
    while (TOKEN.lastIndex < text.length) {
      const from = TOKEN.lastIndex;
      const token = TOKEN.exec(text)?.[0];
      if (token === undefined)
        throw this.invalid(`expected a hop or an operator at ${JSON.stringify(text.slice(from))}`);
      if (token.trim() === '') continue;
      if (this.tokens.push(token) > MAX_TOKENS) throw this.invalid(`more than ${MAX_TOKENS} parts`);
    }
  }

  parse(): SequenceNode {
    const root = this.concatenation();
    if (this.at < this.tokens.length) throw this.invalid(`unexpected ${this.tokens[this.at]}`);
    return root;
  }

  private concatenation(): SequenceNode {
    let node = this.alternatives();
    while (this.at < this.tokens.length && this.tokens[this.at] !== ')')
      node = { kind: 'then', left: node, right: this.alternatives() };
    return node;
  }

  private alternatives(): SequenceNode {
    let node = this.repeated();
    while (this.take('|')) node = { kind: 'or', left: node, right: this.repeated() };
    return node;
  }

  private repeated(): SequenceNode {
    let node = this.atom();
    for (;;) {
      const kind = this.tokens[this.at];
      if (kind !== '?' && kind !== '+' && kind !== '*') return node;
      this.at++;
      node = { kind, of: node };
    }
  }

  private atom(): SequenceNode {
    if (!this.take('(')) return { kind: 'hop', hop: this.hop() };
    const node = this.concatenation();
    if (!this.take(')')) throw this.invalid('expected )');
    return node;
  }

  private hop(): SequenceHop {
    const token = this.tokens[this.at];
    if (token === undefined || !/^\d/.test(token))
      throw this.invalid(`expected a hop ${token === undefined ? 'at the end' : `before ${token}`}`);
    const isd = this.number('ISD');
    if (!this.tokens[this.at]?.startsWith('-')) return { isd, as: 0n, interfaces: [] };
    const as = this.as(this.tokens[this.at++]!.slice(1));
    if (!this.take('#')) return { isd, as, interfaces: [] };
    const first = this.number('interface');
    return { isd, as, interfaces: this.take(',') ? [first, this.number('interface')] : [first] };
  }

  private as(text: string): bigint {
    let as: bigint;
    try {
      as = parseAs(text);
    } catch {
      throw this.invalid(`${text} is no AS number`);
    }
    if (formatAs(as) !== text) throw this.invalid(`write ${formatAs(as)} for the AS ${text}`);
    return as;
  }

  private number(what: string): number {
    const token = this.tokens[this.at++];
    if (token === undefined || !/^\d+$/.test(token))
      throw this.invalid(`expected an ${what} ${token ? `at ${token}` : 'at the end'}`);
    if (Number(token) > 0xffff) throw this.invalid(`${what} ${token} exceeds 65535`);
    return Number(token);
  }

  private take(token: string): boolean {
    if (this.tokens[this.at] !== token) return false;
    this.at++;
    return true;
  }

  private invalid(message: string): ConfigError {
    return invalidConfig(`path policy: sequence "${this.text.slice(0, 200)}": ${message}`);
  }
}
