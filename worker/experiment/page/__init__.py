"""The web page of `mirrorstream experiment serve`: reads a report, changes nothing.

Source  ->  app        routes, and which report they answer from
            access     who may ask, and the headers of every answer
            views      a Readout as what the templates show; charts, forecast, text and addresses help
            document   the same views in one file (`experiment report --html`)
            api        the same as JSON, and its reference
            serving    the address to listen on
"""
