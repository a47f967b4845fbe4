/** SCMP errors in words, for tools and logs: interface errors as the official tools print them, the rest by their names. */

import { formatIsdAs } from '#scion/isd-as';
import { ProblemCode, type ScmpMessage, ScmpType, UnreachableCode } from '#scion/scmp';

const PROBLEMS = wordsOf(ProblemCode);
const UNREACHABLE = wordsOf(UnreachableCode);

/** An SCMP message in words: `external interface down: isd_as=1-ff00:0:111 interface=12`. */
export function scmpText(message: ScmpMessage): string {
  switch (message.type) {
    case ScmpType.externalInterfaceDown:
      return `external interface down: isd_as=${formatIsdAs(message.ia)} interface=${message.interface}`;
    case ScmpType.internalConnectivityDown:
      return `internal connectivity down: isd_as=${formatIsdAs(message.ia)} ingress=${message.ingress} egress=${message.egress}`;
    case ScmpType.destinationUnreachable:
      return `destination unreachable: ${UNREACHABLE.get(message.code) ?? `code ${message.code}`}`;
    case ScmpType.packetTooBig:
      return `packet too big: mtu=${message.mtu}`;
    case ScmpType.parameterProblem:
      return `parameter problem: ${PROBLEMS.get(message.code) ?? `code ${message.code}`} at byte ${message.pointer}`;
    default:
      return `SCMP type ${message.type} code ${message.code}`;
  }
}

/** `invalidHopMac` becomes `invalid hop mac`. */
function wordsOf(codes: Readonly<Record<string, number>>): Map<number, string> {
  return new Map(
    Object.entries(codes).map(([name, code]) => [code, name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)]),
  );
}
