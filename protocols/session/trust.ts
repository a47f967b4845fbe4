/**
 * Whom a device believes: one root that is pinned, the authorities below it, the certificates it needs of others, and the
 * newest revocation list of each authority. Pure; who owns it keeps it over a restart.
 *
 * A list is believed for its signature, whoever brings it, and its number only grows. Without the list of an authority
 * nothing that the authority has issued is believed.
 */

import { equalBytes, toHex } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import {
  type Certificate,
  type ChainFault,
  isIssuedBy,
  isListOf,
  isSameCertificate,
  judgeChain,
  type RevocationList,
} from '#base/x509';
import { ROLES, type Role, roleOf } from '#session/identity';

export interface TrustTime {
  /** Seconds since the Unix epoch. */
  readonly nowS: number;
  /** The clock is not set: it is at least this late. */
  readonly isLowerBound: boolean;
}

/** `full` and `conflict`: nothing is wrong with the certificate, but there is no place for it. */
export type TrustFault = ChainFault | 'no-root' | 'role' | 'full' | 'conflict';
export type ListFault = 'unknown-issuer' | 'older' | 'full';

export interface TrustOptions {
  readonly verifyKey: (publicKey: Uint8Array) => VerifyKey;
  /** Roles of others whose certificates are kept. */
  readonly roles: readonly Role[];
  /** Certificates without the root, and lists. Default 24 and 4. */
  readonly maxCertificates?: number;
  readonly maxLists?: number;
}

/** A verdict is repeated for so long, unless something changes. */
const VERDICT_S = 600;

export class Trust {
  root: Certificate | undefined;
  readonly certificates: Certificate[] = [];
  readonly lists: RevocationList[] = [];
  /** Grows with every change. */
  generation = 0;
  readonly #options: TrustOptions;
  readonly #verdicts = new Map<Certificate, number>();

  constructor(options: TrustOptions) {
    this.#options = options;
  }

  /** Judges a leaf. @returns null when it is believed */
  judge(leaf: Certificate, role: Role, keyUsage: number, time: TrustTime): TrustFault | null {
    if (roleOf(leaf) !== role) return 'role';
    const judgedS = this.#verdicts.get(leaf);
    const isFresh = judgedS !== undefined && Math.abs(time.nowS - judgedS) < VERDICT_S;
    if (isFresh && (leaf.keyUsage & keyUsage) !== 0 && time.nowS <= leaf.notAfter) return null;
    const fault = this.#judge(leaf, role, keyUsage, time, (authority, serial) =>
      this.lists.find((list) => isIssuedBy(list, authority))?.serials.has(toHex(serial)),
    );
    if (fault === null) this.#verdicts.set(leaf, time.nowS);
    return fault;
  }

  /** Judges a device's own certificate: its revocation is for others to know. */
  judgeOwn(leaf: Certificate, role: Role, keyUsage: number, time: TrustTime): TrustFault | null {
    return roleOf(leaf) === role ? this.#judge(leaf, role, keyUsage, time, () => false) : 'role';
  }

  #judge(
    leaf: Certificate,
    role: Role,
    keyUsage: number,
    { nowS, isLowerBound }: TrustTime,
    isRevoked: (authority: Certificate, serial: Uint8Array) => boolean | undefined,
  ): TrustFault | null {
    if (!this.root) return 'no-root';
    const { verifyKey } = this.#options;
    const rules = { nowS, isLowerBound, keyUsage, purpose: ROLES[role], verifyKey, isRevoked };
    return judgeChain(leaf, this.certificates, this.root, rules);
  }

  /** Pins the root. A pinned one is never replaced. */
  pin(root: Certificate): TrustFault | null {
    if (this.root) return isSameCertificate(this.root, root) ? null : 'conflict';
    if (!root.isAuthority || !isIssuedBy(root, root)) return 'not-an-authority';
    if (!this.#options.verifyKey(root.publicKey).verify(root.tbs, root.signature)) return 'signature';
    this.root = root;
    this.#changed();
    return null;
  }

  /** Takes an authority below the root, or another party's certificate; a newer one takes the place of an older one. */
  add(certificate: Certificate, time: TrustTime): TrustFault | null {
    const { root } = this;
    if (!root) return 'no-root';
    if (this.certificates.some((held) => isSameCertificate(held, certificate))) return null;
    const fault = certificate.isAuthority
      ? this.#judgeAuthority(certificate, root, time)
      : this.#judgeOther(certificate, time);
    return fault ?? this.keep(certificate);
  }

  #judgeAuthority(authority: Certificate, root: Certificate, { nowS }: TrustTime): TrustFault | null {
    if (isIssuedBy(authority, authority)) return 'conflict';
    if (!isIssuedBy(authority, root)) return 'unknown-issuer';
    if (nowS > authority.notAfter) return 'expired';
    return this.#options.verifyKey(root.publicKey).verify(authority.tbs, authority.signature) ? null : 'signature';
  }

  #judgeOther(leaf: Certificate, time: TrustTime): TrustFault | null {
    const role = roleOf(leaf);
    if (role === undefined || !this.#options.roles.includes(role)) return 'role';
    return this.judge(leaf, role, leaf.keyUsage, time);
  }

  /** Keeps a certificate that was judged, in place of an older one for the same subject and use. */
  keep(certificate: Certificate): TrustFault | null {
    const { certificates } = this;
    const same = certificates.findIndex(
      (held) =>
        equalBytes(held.subject, certificate.subject) &&
        held.keyUsage === certificate.keyUsage &&
        (!certificate.isAuthority || equalBytes(held.publicKey, certificate.publicKey)),
    );
    if (same >= 0 && certificates[same]!.notBefore > certificate.notBefore) return 'conflict';
    if (same < 0 && certificates.length >= (this.#options.maxCertificates ?? 24)) return 'full';
    certificates.splice(same < 0 ? certificates.length : same, same < 0 ? 0 : 1, certificate);
    this.#changed();
    return null;
  }

  /** Takes a revocation list: its signature is its authority. @returns null when it is held now */
  takeList(list: RevocationList): ListFault | null {
    const issuer = this.certificates.find((authority) => isListOf(list, authority, this.#options.verifyKey));
    if (!issuer) return 'unknown-issuer';
    const index = this.lists.findIndex((held) => isIssuedBy(held, issuer));
    const held = this.lists[index];
    if (held && list.number <= held.number) return equalBytes(held.der, list.der) ? null : 'older';
    if (!held && this.lists.length >= (this.#options.maxLists ?? 4)) return 'full';
    this.lists.splice(held ? index : this.lists.length, held ? 1 : 0, list);
    this.#changed();
    return null;
  }

  /** Leaves of a role with a key usage, judged by the caller. */
  find(role: Role, keyUsage: number): Certificate[] {
    return this.certificates.filter((leaf) => roleOf(leaf) === role && (leaf.keyUsage & keyUsage) !== 0);
  }

  #changed(): void {
    this.generation++;
    this.#verdicts.clear();
  }
}
