package s3mp;

import gurux.dlms.asn.GXAsn1Converter;
import gurux.dlms.enums.Authentication;
import gurux.dlms.enums.Security;
import gurux.dlms.objects.enums.SecuritySuite;
import gurux.dlms.secure.GXCiphering;
import java.security.KeyPair;
import java.util.Arrays;

/** Gives keys to the ciphering of Gurux's client or server. */
final class GuruxKeys {
  private GuruxKeys() {}

  static Authentication mechanism(Plan.Security keys) {
    return switch (keys.mechanism) {
      case "md5" -> Authentication.HIGH_MD5;
      case "sha1" -> Authentication.HIGH_SHA1;
      case "sha256" -> Authentication.HIGH_SHA256;
      case "ecdsa" -> Authentication.HIGH_ECDSA;
      default -> Authentication.HIGH_GMAC;
    };
  }

  static void apply(GXCiphering ciphering, Plan.Security keys) throws Exception {
    ciphering.setSecurity(keys.plain ? Security.NONE : Security.AUTHENTICATION_ENCRYPTION);
    ciphering.setSystemTitle(Plan.bytes(keys.title));
    ciphering.setBlockCipherKey(Plan.bytes(keys.unicast));
    ciphering.setAuthenticationKey(Plan.bytes(keys.authentication));
    ciphering.setInvocationCounter(keys.counter);
    if (keys.dedicated != null) ciphering.setDedicatedKey(Plan.bytes(keys.dedicated));
    if (keys.signing == null) return;
    ciphering.setSecuritySuite(SecuritySuite.SUITE_1);
    byte[] point = Plan.bytes(keys.peer);
    if (point.length == 65) point = Arrays.copyOfRange(point, 1, 65);
    ciphering.setSigningKeyPair(
        new KeyPair(GXAsn1Converter.getPublicKey(point), GXAsn1Converter.getPrivateKey(Plan.bytes(keys.signing))));
  }
}
