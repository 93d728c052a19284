import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Iterator;
import java.util.concurrent.Executors;

/** HTTP on one port, with a pool of threads; an echo on another, with a selector. */
public class Server {
    static void answer(HttpExchange exchange) throws IOException {
        byte[] body = exchange.getRequestBody().readAllBytes();
        exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    static void echo(int port) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(port));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        while (selector.select() >= 0) {
            for (Iterator<SelectionKey> i = selector.selectedKeys().iterator(); i.hasNext();) {
                SelectionKey key = i.next();
                i.remove();
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    channel.configureBlocking(false);
                    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 16);
                    channel.register(selector, SelectionKey.OP_READ, buffer);
                } else {
                    pass(key);
                }
            }
        }
    }

    /** Reads only while nothing waits to be written, so that each readiness counts. */
    static void pass(SelectionKey key) throws IOException {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer buffer = (ByteBuffer) key.attachment();
        if (key.isReadable() && channel.read(buffer) < 0) {
            channel.close();
            return;
        }
        buffer.flip();
        channel.write(buffer);
        key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
        buffer.compact();
    }

    public static void main(String[] ports) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(ports[0])), 0);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", Server::answer);
        server.start();
        echo(Integer.parseInt(ports[1]));
    }
}
