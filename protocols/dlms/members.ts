/** Structures that come as data, taken apart with their types checked. */

import type { Data } from '#dlms/axdr';

type ValueOf<T, D = Data> = D extends { readonly type: infer K; readonly value: infer V }
  ? T extends K
    ? V
    : never
  : never;

/**
 * Values of a structure's members.
 * @param types  of all its members, in order
 * @returns undefined when it is no structure of just these types
 */
export function members<const T extends readonly Data['type'][]>(
  data: Data | null | undefined,
  ...types: T
): { [I in keyof T]: ValueOf<T[I]> } | undefined {
  if (data?.type !== 'structure' || data.value.length !== types.length) return undefined;
  if (!data.value.every(({ type }, i) => type === types[i])) return undefined;
  return data.value.map((member) => 'value' in member && member.value) as { [I in keyof T]: ValueOf<T[I]> };
}
