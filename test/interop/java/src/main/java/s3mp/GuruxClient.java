package s3mp;

import gurux.dlms.GXByteBuffer;
import gurux.dlms.GXDateTime;
import gurux.dlms.GXReplyData;
import gurux.dlms.enums.Authentication;
import gurux.dlms.enums.Conformance;
import gurux.dlms.enums.DataType;
import gurux.dlms.enums.InterfaceType;
import gurux.dlms.enums.ObjectType;
import gurux.dlms.objects.GXDLMSClock;
import gurux.dlms.objects.GXDLMSData;
import gurux.dlms.objects.GXDLMSDisconnectControl;
import gurux.dlms.objects.GXDLMSImageTransfer;
import gurux.dlms.objects.GXDLMSObject;
import gurux.dlms.objects.GXDLMSProfileGeneric;
import gurux.dlms.objects.GXDLMSPushSetup;
import gurux.dlms.objects.GXDLMSRegister;
import gurux.dlms.objects.enums.MessageType;
import gurux.dlms.objects.enums.ServiceType;
import gurux.dlms.secure.GXDLMSSecureClient;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * DLMS client made of Gurux's Java library. Usage: GuruxClient HOST PORT PLAN; steps as of gurux-client.py. Prints one JSON
 * line for the association and one per step; a refusal is {"error": "..."}.
 */
public final class GuruxClient {
  private static final byte GENERAL_BLOCK_TRANSFER = (byte) 0xe0;
  private final GXDLMSSecureClient dlms;
  private final Wire wire;
  private final boolean isHdlc;

  private GuruxClient(String host, int port, Plan plan) throws Exception {
    isHdlc = plan.transport.equals("hdlc");
    Authentication mechanism = plan.password == null ? Authentication.NONE : Authentication.LOW;
    int sap = plan.password == null ? 16 : 17;
    if (plan.security != null) {
      sap = 1;
      mechanism = GuruxKeys.mechanism(plan.security);
    }
    String secret = plan.security == null ? plan.password : plan.security.secret;
    dlms =
        new GXDLMSSecureClient(
            true, sap, 1, mechanism, secret, isHdlc ? InterfaceType.HDLC : InterfaceType.WRAPPER);
    if (plan.maxPdu > 0) dlms.setMaxReceivePDUSize(plan.maxPdu);
    if (plan.gbt > 0) {
      dlms.getProposedConformance().add(Conformance.GENERAL_BLOCK_TRANSFER);
      dlms.setGbtWindowSize((byte) plan.gbt);
    }
    if (plan.security != null) {
      GuruxKeys.apply(dlms.getCiphering(), plan.security);
      if (plan.security.general) dlms.getProposedConformance().add(Conformance.GENERAL_PROTECTION);
    }
    wire = new Wire(plan.transport, host, port);
  }

  /** Sends a frame, unless it only waits, and feeds the library until an answer is whole. */
  private void exchange(byte[] frame, GXReplyData reply) throws Exception {
    if (frame != null) wire.send(frame);
    GXByteBuffer received = new GXByteBuffer();
    do {
      received.set(wire.receive());
    } while (!dlms.getData(received, reply, new GXReplyData()));
    if (reply.getError() != 0) throw new IllegalStateException("result " + reply.getError());
  }

  private GXReplyData send(byte[][] frames) throws Exception {
    GXReplyData reply = new GXReplyData();
    for (int i = 0; i < frames.length; i++) {
      reply.clear();
      exchange(frames[i], reply);
      // An acknowledgement within the request's own blocks; the library would answer it.
      if (frames[i][8] == GENERAL_BLOCK_TRANSFER && i + 1 < frames.length) continue;
      while (reply.isMoreData()) exchange(reply.isStreaming() ? null : dlms.receiverReady(reply), reply);
    }
    return reply;
  }

  private Object associate() throws Exception {
    if (isHdlc) {
      GXReplyData reply = new GXReplyData();
      exchange(dlms.snrmRequest(), reply);
      dlms.parseUAResponse(reply.getData());
    }
    dlms.parseAareResponse(send(dlms.aarqRequest()).getData());
    if (dlms.getAuthentication().getValue() > Authentication.LOW.getValue())
      dlms.parseApplicationAssociationResponse(send(dlms.getApplicationAssociationRequest()).getData());
    return Map.of(
        "conformance",
        dlms.getNegotiatedConformance().stream().map(Enum::name).sorted().toList(),
        "maxPdu",
        dlms.getMaxReceivePDUSize());
  }

  private Object read(GXDLMSObject item, int attribute) throws Exception {
    return dlms.updateValue(item, attribute, send(dlms.read(item, attribute)).getValue());
  }

  private static Object plain(Object value) {
    if (value instanceof byte[] bytes) return Plan.hex(bytes);
    if (value instanceof GXDateTime time) return time.getMeterCalendar().getTimeInMillis() / 1000;
    if (value instanceof Object[] list) return plain(Arrays.asList(list));
    if (value instanceof List<?> list) {
      List<Object> out = new ArrayList<>();
      for (Object each : list) out.add(plain(each));
      return out;
    }
    if (value instanceof Number number) return number.doubleValue();
    return value == null || value instanceof Boolean ? value : value.toString();
  }

  private Object view() throws Exception {
    List<Object> names = new ArrayList<>();
    for (GXDLMSObject item : dlms.parseObjects(send(dlms.getObjectsRequest()).getData(), true))
      names.add(List.of(item.getObjectType().getValue(), item.getLogicalName(), item.getAccess(2).getValue()));
    return names;
  }

  private Object registers() throws Exception {
    Map<String, Object> values = new LinkedHashMap<>();
    for (GXDLMSObject item : dlms.getObjects().getObjects(ObjectType.REGISTER)) {
      GXDLMSRegister register = (GXDLMSRegister) item;
      read(register, 3);
      read(register, 2);
      values.put(
          register.getLogicalName(),
          List.of(((Number) register.getValue()).doubleValue(), register.getUnit().getValue(), register.getScaler()));
    }
    return values;
  }

  private GXDLMSProfileGeneric profile(String name) throws Exception {
    GXDLMSProfileGeneric profile = new GXDLMSProfileGeneric(name);
    read(profile, 3);
    return profile;
  }

  private Object rows(GXDLMSProfileGeneric profile, byte[][] frames) throws Exception {
    dlms.updateValue(profile, 2, send(frames).getValue());
    return plain(profile.getBuffer());
  }

  /** The whole transfer: initiate, all blocks but some, ask what is missing, send that, verify. */
  private Object image(byte[] octets, List<?> skip) throws Exception {
    GXDLMSImageTransfer item = new GXDLMSImageTransfer("0.0.44.0.0.255");
    read(item, 2);
    read(item, 5);
    send(item.imageTransferInitiate(dlms, "firmware", octets.length));
    List<byte[]> blocks = item.getImageBlocks(octets);
    for (int i = 0; i < blocks.size(); i++)
      if (!contains(skip, i)) send(dlms.method(item, 2, blocks.get(i), DataType.ARRAY));
    List<Object> missing = new ArrayList<>();
    for (; ; ) {
      read(item, 4);
      int next = (int) item.getImageFirstNotTransferredBlockNumber();
      if (next >= blocks.size()) break;
      missing.add(next);
      send(dlms.method(item, 2, blocks.get(next), DataType.ARRAY));
    }
    read(item, 3);
    send(item.imageVerify(dlms));
    read(item, 6);
    read(item, 7);
    return List.of(
        missing,
        item.getImageTransferredBlocksStatus().length(),
        item.getImageTransferStatus().ordinal(),
        item.getImageActivateInfo()[0].getSize());
  }

  private static boolean contains(List<?> list, int number) {
    return list.stream().anyMatch(each -> Plan.number(each) == number);
  }

  private Object step(List<Object> step) throws Exception {
    String kind = (String) step.get(0);
    switch (kind) {
      case "view":
        return view();
      case "registers":
        return registers();
      case "read":
        GXDLMSObject item =
            switch (Plan.number(step.get(1))) {
              case 3 -> new GXDLMSRegister((String) step.get(2));
              case 70 -> new GXDLMSDisconnectControl((String) step.get(2));
              default -> new GXDLMSData((String) step.get(2));
            };
        return plain(read(item, Plan.number(step.get(3))));
      case "action":
        send(dlms.method(new GXDLMSDisconnectControl((String) step.get(1)), Plan.number(step.get(2)), 0, DataType.INT8));
        return "done";
      case "message":
        GXDLMSData message = new GXDLMSData("0.0.96.13.0.255");
        message.setValue(((String) step.get(1)).getBytes(StandardCharsets.UTF_8));
        message.setDataType(2, DataType.OCTET_STRING);
        send(dlms.write(message, 2));
        return "done";
      case "profile":
        GXDLMSProfileGeneric range = profile((String) step.get(1));
        Date from = new Date(((Number) step.get(2)).longValue() * 1000);
        Date to = new Date(((Number) step.get(3)).longValue() * 1000);
        return rows(range, dlms.readRowsByRange(range, from, to));
      case "entries":
        GXDLMSProfileGeneric entries = profile((String) step.get(1));
        return rows(entries, dlms.readRowsByEntry(entries, Plan.number(step.get(2)), Plan.number(step.get(3))));
      case "clock":
        GXDLMSClock clock = new GXDLMSClock("0.0.1.0.0.255");
        clock.setTime(new GXDateTime(Date.from(OffsetDateTime.parse((String) step.get(1)).toInstant())));
        send(dlms.write(clock, 2));
        return "done";
      case "image":
        return image(Plan.bytes((String) step.get(1)), (List<?>) step.get(2));
      case "push":
        GXDLMSPushSetup push = new GXDLMSPushSetup((String) step.get(1));
        push.setService(ServiceType.UDP);
        push.setDestination((String) step.get(2));
        push.setMessage(MessageType.COSEM_APDU);
        send(dlms.write(push, 3));
        send(dlms.method(push, 1, 0, DataType.INT8));
        return "done";
      case "release":
        send(dlms.releaseRequest());
        return "done";
      default:
        throw new IllegalArgumentException(kind);
    }
  }

  public static void main(String[] args) throws Exception {
    Plan plan = Plan.parse(args[2]);
    GuruxClient client = new GuruxClient(args[0], Integer.parseInt(args[1]), plan);
    if (!Plan.report("associated", client::associate) && !plan.goOn) return;
    for (List<Object> step : plan.steps) Plan.report("result", () -> client.step(step));
  }
}
