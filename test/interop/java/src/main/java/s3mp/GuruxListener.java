package s3mp;

import gurux.dlms.GXByteBuffer;
import gurux.dlms.GXReplyData;
import gurux.dlms.enums.Authentication;
import gurux.dlms.enums.InterfaceType;
import gurux.dlms.secure.GXDLMSSecureClient;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Push listener made of Gurux's Java library: prints its UDP port, then the values of the first DataNotification. */
public final class GuruxListener {
  public static void main(String[] args) throws Exception {
    try (DatagramSocket socket = new DatagramSocket(0, InetAddress.getLoopbackAddress())) {
      socket.setSoTimeout(20_000);
      System.out.println(socket.getLocalPort());
      DatagramPacket packet = new DatagramPacket(new byte[4096], 4096);
      socket.receive(packet);
      GXDLMSSecureClient client =
          new GXDLMSSecureClient(true, 1, 1, Authentication.NONE, null, InterfaceType.WRAPPER);
      GXReplyData notify = new GXReplyData();
      byte[] frame = Arrays.copyOf(packet.getData(), packet.getLength());
      client.getData(new GXByteBuffer(frame), new GXReplyData(), notify);
      List<Object> values = new ArrayList<>();
      for (Object value : (List<?>) notify.getValue())
        values.add(value instanceof byte[] bytes ? (Object) Plan.hex(bytes) : value instanceof Number n ? n.longValue() : String.valueOf(value));
      System.out.println(Plan.json(values));
    }
  }
}
