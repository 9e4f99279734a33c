"""`python -m lecture_book.experiments`: train and record."""

from lecture_book.experiments.record import main

main()
