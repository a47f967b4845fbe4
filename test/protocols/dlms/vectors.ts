/** Published and captured frames, see test/vectors/dlms.json. */

import file from '../../vectors/dlms.json';

export interface Vector {
  readonly name: string;
  readonly group: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly expected: string;
  readonly source: string;
}

/** Vectors of a group, in the order of the file. */
export function vectors(group: string): readonly Vector[] {
  return (file.vectors as unknown as Vector[]).filter((vector) => vector.group === group);
}

/** One vector by its name. @throws Error when there is none */
export function vector(name: string): Vector {
  const found = (file.vectors as unknown as Vector[]).find((candidate) => candidate.name === name);
  if (!found) throw new Error(`no vector "${name}"`);
  return found;
}
