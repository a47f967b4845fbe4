package s3mp;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.util.List;
import java.util.Map;

/** The JSON that drives a client, and its answers; the same for the clients in Python. */
final class Plan {
  String transport = "tcp";
  String password;
  Security security;
  List<List<Object>> steps;
  int gbt;
  int maxPdu;
  boolean goOn;

  static final class Security {
    String mechanism, title, unicast, authentication, dedicated, signing, peer, secret;
    long counter;
    /** In the plain application context, and general instead of service-specific ciphering. */
    boolean plain, general;
  }

  interface Step {
    Object run() throws Exception;
  }

  private static final Gson JSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();

  static Plan parse(String text) {
    return JSON.fromJson(text, Plan.class);
  }

  static String json(Object value) {
    return JSON.toJson(value);
  }

  /** Prints one line for a step; says whether it worked. */
  static boolean report(String key, Step step) {
    try {
      System.out.println(json(Map.of(key, or(step.run()))));
      return true;
    } catch (Throwable e) {
      String at = "";
      // An exception without words says where it comes from.
      if (e.getMessage() == null && e.getStackTrace().length > 0) at = " at " + e.getStackTrace()[0];
      System.out.println(json(Map.of("error", e.getClass().getSimpleName() + ": " + e.getMessage() + at)));
      return false;
    }
  }

  private static Object or(Object value) {
    return value == null ? "null" : value;
  }

  static int number(Object value) {
    return ((Number) value).intValue();
  }

  static byte[] bytes(String hex) {
    return java.util.HexFormat.of().parseHex(hex);
  }

  static String hex(byte[] bytes) {
    return java.util.HexFormat.of().formatHex(bytes);
  }
}
