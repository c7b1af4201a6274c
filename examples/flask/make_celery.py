"""What ``celery -A make_celery`` loads, as in Flask's documentation."""

from shop import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
