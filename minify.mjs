// Second pass over a bundle: as a whole it is minified once more. It stays ASCII: one … or € in it, and V8 keeps two bytes
// for every character of the source.
import { parse } from 'acorn';
import { minify } from 'terser';
import uglify from 'uglify-js';

/** A function of one caller is not put into that caller, which would make a closure of it at each call. */
const COMPRESS = { passes: 3, reduce_funcs: false };
const TERSER = {
  ecma: 2020,
  toplevel: true,
  compress: { ...COMPRESS, unsafe_arrows: true, sequences: false, hoist_funs: true },
  format: { comments: false, ascii_only: true },
};
const UGLIFY = {
  module: false,
  toplevel: true,
  compress: { ...COMPRESS, passes: 10 },
  output: { ascii_only: true },
};

/** @returns the bundle, minified further, with its first line `#!…` */
export async function minifyAgain(text) {
  return (await minify(text, TERSER)).code;
}

/** The same in fewer bytes: terser puts constants in, uglify-js says in less what is left. */
export async function minifyMost(text) {
  const { code } = await minify(text, { ...TERSER, mangle: false });
  const [first] = code.split('\n', 1);
  const smallest = uglify.minify(withArrows(code.slice(first.length)), UGLIFY);
  if (smallest.error) throw smallest.error;
  return `${first}\n${smallest.code}\n`;
}

/**
 * Characters of a function below which it becomes an arrow. V8 parses the arrows of a module whole when it is loaded, and
 * what it takes for that it keeps: with all of them the meter has 3 MB more.
 */
const SHORT = 400;

/**
 * Short functions that a bundle declares become arrows, as terser's `unsafe_arrows` makes them of function expressions. They stay
 * ahead of everything that runs; one that has a `this`, `arguments` or `yield` of its own stays what it is.
 */
function withArrows(code) {
  const { body } = parse(code, { ecmaVersion: 2022, sourceType: 'script' });
  const text = ({ start, end }) => code.slice(start, end);
  const isArrow = (node) =>
    node.type === 'FunctionDeclaration' && node.end - node.start < SHORT && !node.generator && !needsFunction(node);
  const arrows = body.filter(isArrow).map((node) => {
    const { id, params, body } = node;
    return `${id.name}=${node.async ? 'async' : ''}(${params.map(text).join()})=>${text(body)}`;
  });
  const [directive, ...rest] = body.filter((node) => !isArrow(node)).map(text);
  return [directive, `var ${arrows.join()};`, ...rest].join('\n');
}

/** Whether a node of ESTree holds what an arrow has not of its own; what nested functions hold is theirs. */
function needsFunction(node) {
  if (node === null || typeof node !== 'object') return false;
  if (Array.isArray(node)) return node.some(needsFunction);
  if (node.type === 'ThisExpression' || node.type === 'MetaProperty') return true;
  if (node.type === 'Identifier' && node.name === 'arguments') return true;
  return Object.values(node).some(needsFunction);
}
