from embedded.machine import web_arguments


def test_web_server_believes_no_forwarded_address():
    assert "--no-proxy-headers" in web_arguments(8000)
