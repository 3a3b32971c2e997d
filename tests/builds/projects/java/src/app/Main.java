package app;

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public final class Main {
	public static void main(String[] args) throws Exception {
		HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
		byte[] answer = ("java " + Runtime.version().feature() + " with " + System.getenv("JAVA_OPTS") + "\n").getBytes();

		server.createContext("/", exchange -> {
			exchange.sendResponseHeaders(200, answer.length);
			exchange.getResponseBody().write(answer);
			exchange.close();
		});
		server.start();
		System.out.println("listens");
	}
}
