FROM python:3.12-slim
ONBUILD WORKDIR /usr/src/app
ONBUILD COPY requirements.txt .
ONBUILD RUN pip install -r requirements.txt && echo "$FLAVOUR" > /flavour
ONBUILD COPY . .
ONBUILD USER nobody
