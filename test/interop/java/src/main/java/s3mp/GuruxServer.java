package s3mp;

import gurux.dlms.GXDLMSConnectionEventArgs;
import gurux.dlms.GXDateTime;
import gurux.dlms.GXServerReply;
import gurux.dlms.ValueEventArgs;
import gurux.dlms.enums.AccessMode;
import gurux.dlms.enums.Authentication;
import gurux.dlms.enums.Conformance;
import gurux.dlms.enums.DataType;
import gurux.dlms.enums.MethodAccessMode;
import gurux.dlms.enums.ObjectType;
import gurux.dlms.enums.SourceDiagnostic;
import gurux.dlms.enums.Unit;
import gurux.dlms.objects.GXDLMSAssociationLogicalName;
import gurux.dlms.objects.GXDLMSCaptureObject;
import gurux.dlms.objects.GXDLMSClock;
import gurux.dlms.objects.GXDLMSData;
import gurux.dlms.objects.GXDLMSDisconnectControl;
import gurux.dlms.objects.GXDLMSHdlcSetup;
import gurux.dlms.objects.GXDLMSImageTransfer;
import gurux.dlms.objects.GXDLMSObject;
import gurux.dlms.objects.GXDLMSProfileGeneric;
import gurux.dlms.objects.GXDLMSPushSetup;
import gurux.dlms.objects.GXDLMSRegister;
import gurux.dlms.objects.GXDLMSSecuritySetup;
import gurux.dlms.objects.GXDLMSTcpUdpSetup;
import gurux.dlms.objects.enums.ApplicationContextName;
import gurux.dlms.objects.enums.SecuritySuite;
import gurux.dlms.secure.GXDLMSSecureServer2;
import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.AbstractMap.SimpleEntry;
import java.util.Arrays;
import java.util.Date;

/**
 * A meter made of Gurux's Java library: GuruxServer PLAN with the transport, the password and the keys of its three clients
 * (16 public, 17 password, 1 keys). Prints its port and serves one client after the other. A line "push PORT" on stdin
 * sends a DataNotification over UDP; the end of stdin ends it.
 */
public final class GuruxServer extends GXDLMSSecureServer2 {
  /** Rows of the profile: one each quarter of an hour from 2026-11-23 00:00 UTC. */
  private static final int ROWS = 96;
  private static final long FIRST_ROW_MS = 1_795_392_000_000L;

  private final Plan plan;
  private final GXDLMSPushSetup push = new GXDLMSPushSetup("0.0.25.9.0.255");

  private GuruxServer(Plan plan, GXDLMSAssociationLogicalName open, GXDLMSHdlcSetup hdlc) throws Exception {
    super(open, hdlc);
    this.plan = plan;
    build(open);
  }

  private GuruxServer(Plan plan, GXDLMSAssociationLogicalName open, GXDLMSTcpUdpSetup wrapper) throws Exception {
    super(open, wrapper);
    this.plan = plan;
    build(open);
  }

  static GuruxServer of(Plan plan) throws Exception {
    GXDLMSAssociationLogicalName open = association("0.0.40.0.1.255", 16, Authentication.NONE);
    return plan.transport.equals("hdlc")
        ? new GuruxServer(plan, open, new GXDLMSHdlcSetup())
        : new GuruxServer(plan, open, new GXDLMSTcpUdpSetup());
  }

  private static GXDLMSAssociationLogicalName association(String name, int sap, Authentication mechanism) {
    GXDLMSAssociationLogicalName item = new GXDLMSAssociationLogicalName(name);
    item.setClientSAP(sap);
    item.getAuthenticationMechanismName().setMechanismId(mechanism);
    item.getXDLMSContextInfo().setMaxReceivePduSize(1024);
    item.getXDLMSContextInfo().setMaxSendPduSize(1024);
    item.getXDLMSContextInfo().getConformance().clear();
    item.getXDLMSContextInfo()
        .getConformance()
        .addAll(
            Arrays.asList(
                Conformance.GET,
                Conformance.SET,
                Conformance.ACTION,
                Conformance.SELECTIVE_ACCESS,
                Conformance.MULTIPLE_REFERENCES,
                Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ,
                Conformance.BLOCK_TRANSFER_WITH_SET_OR_WRITE,
                Conformance.BLOCK_TRANSFER_WITH_ACTION,
                Conformance.GENERAL_BLOCK_TRANSFER,
                Conformance.GENERAL_PROTECTION));
    return item;
  }

  private void build(GXDLMSAssociationLogicalName open) throws Exception {
    setMaxReceivePDUSize(1024);
    // Each association has its own.
    getConformance().clear();
    GXDLMSAssociationLogicalName low = association("0.0.40.0.2.255", 17, Authentication.LOW);
    if (plan.password != null) low.setSecret(plan.password.getBytes(StandardCharsets.UTF_8));
    getItems().add(low);
    if (plan.security != null) {
      boolean signs = "ecdsa".equals(plan.security.mechanism);
      // The library takes the keys of an association from its security setup.
      GXDLMSSecuritySetup setup = new GXDLMSSecuritySetup("0.0.43.0.0.255");
      setup.setServerSystemTitle(Plan.bytes(plan.security.title));
      setup.setGuek(Plan.bytes(plan.security.unicast));
      setup.setGak(Plan.bytes(plan.security.authentication));
      setup.setSecuritySuite(signs ? SecuritySuite.SUITE_1 : SecuritySuite.SUITE_0);
      GXDLMSAssociationLogicalName secured =
          association("0.0.40.0.3.255", 1, GuruxKeys.mechanism(plan.security));
      if (!plan.security.plain)
        secured.getApplicationContextName().setContextId(ApplicationContextName.LOGICAL_NAME_WITH_CIPHERING);
      if (plan.security.secret != null) secured.setSecret(plan.security.secret.getBytes(StandardCharsets.UTF_8));
      secured.setSecuritySetupReference(setup.getLogicalName());
      getItems().add(setup);
      getItems().add(secured);
      GuruxKeys.apply(getCiphering(), plan.security);
    }
    GXDLMSData name = new GXDLMSData("0.0.42.0.0.255");
    name.setValue("GRX0000000000001".getBytes(StandardCharsets.US_ASCII));
    name.setDataType(2, DataType.OCTET_STRING);
    GXDLMSData message = new GXDLMSData("0.0.96.13.0.255");
    message.setValue(new byte[0]);
    message.setDataType(2, DataType.OCTET_STRING);
    GXDLMSRegister energy = register("1.0.1.8.0.255", 1_234_560, 0, Unit.ACTIVE_ENERGY);
    GXDLMSClock clock = new GXDLMSClock("0.0.1.0.0.255");
    clock.setTime(new GXDateTime(new Date(FIRST_ROW_MS)));
    GXDLMSProfileGeneric profile = new GXDLMSProfileGeneric("1.0.99.1.0.255");
    profile.setCapturePeriod(900);
    profile.addCaptureObject(clock, 2, 0);
    profile.addCaptureObject(energy, 2, 0);
    profile.setSortObject(clock);
    profile.setSortObjectAttributeIndex(2);
    for (int i = 0; i < ROWS; i++)
      profile.addRow(new Object[] {new GXDateTime(new Date(FIRST_ROW_MS + i * 900_000L)), 1_000_000L + i});
    profile.setProfileEntries(ROWS);
    profile.setEntriesInUse(ROWS);
    GXDLMSImageTransfer image = new GXDLMSImageTransfer("0.0.44.0.0.255");
    image.setImageTransferEnabled(true);
    image.setImageBlockSize(128);
    push.getPushObjectList().add(new SimpleEntry<>(name, new GXDLMSCaptureObject(2, 0)));
    push.getPushObjectList().add(new SimpleEntry<>(energy, new GXDLMSCaptureObject(2, 0)));
    for (GXDLMSObject item :
        Arrays.asList(
            name,
            message,
            energy,
            register("1.0.32.7.0.255", 23_012, -2, Unit.VOLTAGE),
            clock,
            profile,
            new GXDLMSDisconnectControl("0.0.96.3.10.255"),
            image,
            push)) getItems().add(item);
    initialize();
  }

  private static GXDLMSRegister register(String name, int value, int scaler, Unit unit) {
    GXDLMSRegister item = new GXDLMSRegister(name);
    item.setValue(value);
    item.setDataType(2, DataType.UINT32);
    item.setScaler(Math.pow(10, scaler));
    item.setUnit(unit);
    return item;
  }

  @Override
  protected GXDLMSObject onFindObject(ObjectType type, int sn, String ln) {
    // Association 0.0.40.0.0.255 stands for the current one.
    return type == ObjectType.ASSOCIATION_LOGICAL_NAME ? getAssignedAssociation() : null;
  }

  @Override
  protected boolean isTarget(int server, int client) {
    for (GXDLMSObject item : getItems().getObjects(ObjectType.ASSOCIATION_LOGICAL_NAME)) {
      GXDLMSAssociationLogicalName association = (GXDLMSAssociationLogicalName) item;
      if (association.getClientSAP() == client) {
        setAssignedAssociation(association);
        return true;
      }
    }
    return false;
  }

  @Override
  protected SourceDiagnostic onValidateAuthentication(Authentication mechanism, byte[] password) {
    if (getAssignedAssociation().getAuthenticationMechanismName().getMechanismId() != mechanism)
      return SourceDiagnostic.AUTHENTICATION_FAILURE;
    boolean isRight = mechanism != Authentication.LOW || Arrays.equals(password, getAssignedAssociation().getSecret());
    return isRight ? SourceDiagnostic.NONE : SourceDiagnostic.AUTHENTICATION_FAILURE;
  }

  @Override
  protected AccessMode onGetAttributeAccess(ValueEventArgs e) {
    return AccessMode.READ_WRITE;
  }

  @Override
  protected MethodAccessMode onGetMethodAccess(ValueEventArgs e) {
    return MethodAccessMode.ACCESS;
  }

  @Override
  protected void onPreAction(ValueEventArgs[] args) {
    for (ValueEventArgs e : args)
      if (e.getTarget() instanceof GXDLMSDisconnectControl control) {
        control.setOutputState(e.getIndex() == 2);
        e.setHandled(true);
      }
  }

  @Override
  protected void onPostAction(ValueEventArgs[] args) {}

  @Override
  public void onPreGet(ValueEventArgs[] args) {}

  @Override
  public void onPostGet(ValueEventArgs[] args) {}

  @Override
  public void onPreRead(ValueEventArgs[] args) {}

  @Override
  public void onPostRead(ValueEventArgs[] args) {}

  @Override
  protected void onPreWrite(ValueEventArgs[] args) {}

  @Override
  protected void onPostWrite(ValueEventArgs[] args) {}

  @Override
  protected void onConnected(GXDLMSConnectionEventArgs e) {}

  @Override
  protected void onInvalidConnection(GXDLMSConnectionEventArgs e) {}

  @Override
  protected void onDisconnected(GXDLMSConnectionEventArgs e) {}

  private interface Sender {
    void send(byte[] bytes) throws IOException;
  }

  private void answer(byte[] received, Sender sender) throws Exception {
    GXServerReply reply = new GXServerReply(received);
    do {
      handleRequest(reply);
      if (reply.getReply() != null) sender.send(reply.getReply());
      reply.setData(null);
    } while (reply.isStreaming());
  }

  private void serveStream(ServerSocket listener) throws Exception {
    byte[] buffer = new byte[4096];
    for (; ; ) {
      try (Socket socket = listener.accept()) {
        socket.setTcpNoDelay(true);
        reset();
        for (int n; (n = socket.getInputStream().read(buffer)) > 0; )
          answer(Arrays.copyOf(buffer, n), bytes -> socket.getOutputStream().write(bytes));
      } catch (IOException e) {
        System.err.println(e);
      }
    }
  }

  private void serveDatagrams(DatagramSocket socket) throws Exception {
    for (; ; ) {
      DatagramPacket packet = new DatagramPacket(new byte[4096], 4096);
      socket.receive(packet);
      answer(
          Arrays.copyOf(packet.getData(), packet.getLength()),
          bytes -> socket.send(new DatagramPacket(bytes, bytes.length, packet.getSocketAddress())));
    }
  }

  private void followInput() {
    try (DatagramSocket socket = new DatagramSocket()) {
      java.io.BufferedReader lines = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
      for (String line; (line = lines.readLine()) != null; ) {
        int port = Integer.parseInt(line.split(" ")[1]);
        for (byte[] frame : generatePushSetupMessages(new Date(FIRST_ROW_MS), push))
          socket.send(new DatagramPacket(frame, frame.length, InetAddress.getLoopbackAddress(), port));
      }
    } catch (Throwable e) {
      e.printStackTrace();
    }
    System.exit(0);
  }

  public static void main(String[] args) throws Exception {
    Plan plan = Plan.parse(args[0]);
    GuruxServer server = of(plan);
    Thread input = new Thread(server::followInput);
    input.setDaemon(true);
    input.start();
    if (plan.transport.equals("udp")) {
      DatagramSocket socket = new DatagramSocket(0, InetAddress.getLoopbackAddress());
      System.out.println(socket.getLocalPort());
      server.serveDatagrams(socket);
    } else {
      ServerSocket listener = new ServerSocket(0, 4, InetAddress.getLoopbackAddress());
      System.out.println(listener.getLocalPort());
      server.serveStream(listener);
    }
  }
}
