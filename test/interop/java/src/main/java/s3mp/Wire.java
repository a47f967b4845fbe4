package s3mp;

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.Arrays;

/** Bytes over TCP or UDP to one meter. */
final class Wire implements AutoCloseable {
  private static final int TIMEOUT_MS = 5000;
  private Socket stream;
  private DatagramSocket datagrams;

  Wire(String transport, String host, int port) throws IOException {
    if (transport.equals("udp")) {
      datagrams = new DatagramSocket(0, InetAddress.getByName(host));
      datagrams.connect(InetAddress.getByName(host), port);
      datagrams.setSoTimeout(TIMEOUT_MS);
    } else {
      stream = new Socket(host, port);
      stream.setTcpNoDelay(true);
      stream.setSoTimeout(TIMEOUT_MS);
    }
  }

  void send(byte[] frame) throws IOException {
    if (stream != null) stream.getOutputStream().write(frame);
    else datagrams.send(new DatagramPacket(frame, frame.length));
  }

  byte[] receive() throws IOException {
    byte[] buffer = new byte[4096];
    try {
      int length;
      if (stream != null) length = stream.getInputStream().read(buffer);
      else {
        DatagramPacket packet = new DatagramPacket(buffer, buffer.length);
        datagrams.receive(packet);
        length = packet.getLength();
      }
      if (length < 0) throw new IOException("closed by the server");
      return Arrays.copyOf(buffer, length);
    } catch (SocketTimeoutException e) {
      throw new IOException("no answer in " + TIMEOUT_MS + " ms");
    }
  }

  @Override
  public void close() throws IOException {
    if (stream != null) stream.close();
    else datagrams.close();
  }
}
