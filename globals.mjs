// What a bundle uses of the language and of Node by one short name each: esbuild puts these in where a source says
// `Math.floor` or `Uint8Array` and means the global. Whatever needs its receiver, such as `performance.now`, keeps it.
const { abs, ceil, floor, max, min, round } = Math;
const { create, entries, hasOwn, keys } = Object;
const { from: listOf, isArray } = Array;
const { isInteger, isNaN: isNotNumber } = Number;
const { parse, stringify } = JSON;
const Bytes = Uint8Array;
const Doubles = Float64Array;
const Numeric = Number;
const Text = String;
const Failure = Error;
const Instant = Date;
const wait = setTimeout;
const cancel = clearTimeout;
const Wide = BigInt;
const Future = Promise;
const NodeBuffer = Buffer;
const program = process;
const clock = performance;

export {
  abs as 'Math.abs',
  Bytes as 'Uint8Array',
  cancel as 'clearTimeout',
  ceil as 'Math.ceil',
  clock as 'performance',
  create as 'Object.create',
  Doubles as 'Float64Array',
  entries as 'Object.entries',
  Failure as 'Error',
  Future as 'Promise',
  floor as 'Math.floor',
  hasOwn as 'Object.hasOwn',
  Instant as 'Date',
  isArray as 'Array.isArray',
  isInteger as 'Number.isInteger',
  isNotNumber as 'Number.isNaN',
  keys as 'Object.keys',
  listOf as 'Array.from',
  max as 'Math.max',
  min as 'Math.min',
  NodeBuffer as 'Buffer',
  Numeric as 'Number',
  parse as 'JSON.parse',
  program as 'process',
  round as 'Math.round',
  stringify as 'JSON.stringify',
  Text as 'String',
  Wide as 'BigInt',
  wait as 'setTimeout',
};
