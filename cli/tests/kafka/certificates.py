"""An authority of certificates, and a broker's certificate by it, made with openssl."""

import os
import subprocess


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def authority(directory, name):
    """A new authority: NAME.key and NAME.pem."""
    key, certificate = (os.path.join(directory, f"{name}.{suffix}") for suffix in ("key", "pem"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key, "-out",
            certificate)


def broker(directory, name, by, days=2):
    """A certificate for this machine by an authority; returns the file with key and certificate that Kafka takes. With 0
    days it expires at once."""
    key, request, certificate, extensions = (
        os.path.join(directory, f"{name}.{suffix}") for suffix in ("key", "csr", "crt", "ext"))
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", key, "-out", request)
    with open(extensions, "w") as file:
        file.write("subjectAltName=IP:127.0.0.1\n")
    signer = os.path.join(directory, by)
    openssl("x509", "-req", "-in", request, "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial", "-days",
            str(days), "-extfile", extensions, "-out", certificate)
    both = os.path.join(directory, f"{name}.pem")
    with open(both, "w") as file:
        for part in (key, certificate):
            with open(part) as text:
                file.write(text.read())
    return both
