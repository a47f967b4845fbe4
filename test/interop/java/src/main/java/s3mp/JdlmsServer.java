package s3mp;

import java.net.ServerSocket;
import org.openmuc.jdlms.AttributeAccessMode;
import org.openmuc.jdlms.AuthenticationMechanism;
import org.openmuc.jdlms.CosemAttribute;
import org.openmuc.jdlms.CosemClass;
import org.openmuc.jdlms.CosemInterfaceObject;
import org.openmuc.jdlms.DlmsServer;
import org.openmuc.jdlms.LogicalDevice;
import org.openmuc.jdlms.SecuritySuite;
import org.openmuc.jdlms.datatypes.DataObject;

/** A meter of one register made of jDLMS, for the bench: prints its port; the end of stdin ends it. */
public final class JdlmsServer {
  @CosemClass(id = 3)
  public static final class Register extends CosemInterfaceObject {
    @CosemAttribute(id = 2, type = DataObject.Type.DOUBLE_LONG_UNSIGNED, accessMode = AttributeAccessMode.READ_ONLY)
    private DataObject value = DataObject.newUInteger32Data(1_234_560);

    Register() {
      super("1.0.1.8.0.255");
    }

    public DataObject getValue() {
      return value;
    }
  }

  public static void main(String[] args) throws Exception {
    int port;
    // jDLMS takes no port 0.
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    LogicalDevice device = new LogicalDevice(1, "JDL0000000000001", "JDL", 1);
    device.addRestriction(
        16, SecuritySuite.builder().setAuthenticationMechanism(AuthenticationMechanism.NONE).build());
    device.registerCosemObject(new Register());
    DlmsServer server =
        DlmsServer.tcpServerBuilder(port).registerLogicalDevice(device).setInactivityTimeout(0).build();
    System.out.println(port);
    while (System.in.read() >= 0) {}
    server.close();
    System.exit(0);
  }
}
