package mirrorstream.pairing;

import java.util.Locale;

/** Why a half is in no pair; the name in small letters is the header `ms-reason` and the label of the metric. */
enum Reason {
  UNREADABLE, // is no JSON object in UTF-8
  NO_REQUEST_ID, // has none in the field that the settings name, or a key without a text
  TOO_LARGE, // with the halves that are there it would be larger than a pair may be
  DUPLICATE, // the request has this half already
  OUTSIDE_WINDOW, // the two halves' times are further apart than the window
  NO_CONTROL, // nobody logged what was shown
  LATE; // came after the request had left without it, or after its id was forgotten

  String text() {
    return name().toLowerCase(Locale.ROOT);
  }
}
