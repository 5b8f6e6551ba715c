"""The guestbook: counts its visits in redis."""
import socket

from flask import Flask, request
from redis import Redis

app = Flask(__name__)
redis = Redis(host="redis")


@app.route("/")
def visit():
    count = redis.incr("visits")
    own = socket.gethostbyname(socket.gethostname())
    caller = request.headers.get("X-Real-IP", request.remote_addr)
    return f"Hello World by {own} from {caller} ! 该页面已被访问 {count} 次。\n"


app.run(host="0.0.0.0", port=5000)
